"""Explanations that are kept, and for whom."""

from __future__ import annotations

import pytest

from labapi.api import explained
from labapi.api.explained import Explained
from labapi.scheduler.driver import Driver, Explanation
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.spec import RequestSpec
from tests.unit.scheduler.hosts import names, request, scheduler, table

HOSTS = {f"h-{number}": {"metadata": {"rack": f"r{number}"}} for number in (1, 2, 3)}


class Counted(Driver):
    """Does as the usual driver does, and counts what it is asked to explain."""

    def __init__(self) -> None:
        self._driver = scheduler()
        self.asked: list[RequestSpec] = []

    def select(self, spec: RequestSpec, hosts: HostStates, count: int = 1) -> list[HostState]:
        return self._driver.select(spec, hosts, count)

    def explain(self, spec: RequestSpec, hosts: HostStates) -> Explanation:
        self.asked.append(spec)
        return self._driver.explain(spec, hosts)

    def why_not(self, spec: RequestSpec, host: HostState) -> str | None:
        return self._driver.why_not(spec, host)


def test_equal_requests_are_explained_once_until_more_is_known() -> None:
    driver, hosts = Counted(), table(HOSTS)
    kept = Explained(driver)
    for case in ("a", "b", "c"):
        found = kept.of(request(case=case, requires=("rack=r2",)), hosts, None, hosts.changes)
        assert names(found.hosts) == ["h-2"]
        assert found.turned_away == {"requires rack=r2": 2}
    assert len(driver.asked) == 1
    hosts[2].metadata = {"rack": "r9"}
    hosts.update(hosts[2])
    found = kept.of(request(requires=("rack=r2",)), hosts, None, hosts.changes)
    assert (found.hosts, found.turned_away) == ([], {"requires rack=r2": 3})
    hosts.consume(hosts[1])
    kept.of(request(requires=("rack=r2",)), hosts, None, hosts.changes)
    assert len(driver.asked) == 3


@pytest.mark.parametrize(
    "other",
    [
        request(requires=("rack=r2",), project_id="p2"),
        request(requires=("rack=r2",), plugin="power"),
        request(requires=("rack=r2",), parameters={"ms": 1}),
        request(requires=("rack=r2",), ahead=1),
        request(requires=("rack=r2",), client="192.0.2.1"),
        request(requires=("rack=r2",), tried=frozenset(["h-2"])),
        request(requires=("rack=r3",)),
    ],
)
def test_other_requests_are_explained_by_themselves(other: RequestSpec) -> None:
    driver, hosts = Counted(), table(HOSTS)
    kept = Explained(driver)
    kept.of(request(requires=("rack=r2",)), hosts, None, 1)
    assert kept.of(other, hosts, None, 1) == scheduler().explain(other, hosts)
    assert len(driver.asked) == 2


def test_those_who_may_see_different_hosts_share_no_answer() -> None:
    driver, hosts = Counted(), table(HOSTS)
    kept, wanted = Explained(driver), request(requires=("rack=none",))
    for _ in range(2):
        for seen in (None, {1, 3}, {1, 2}, set[int](), [3, 1]):
            found = kept.of(wanted, hosts, seen, 1)
            visible = {1, 2, 3} if seen is None else set(seen)
            assert found.nearest is None if not visible else found.nearest.id in visible  # type: ignore[union-attr]
            assert sum(found.turned_away.values()) == len(visible)
    assert len(driver.asked) == 4  # {1, 3} and [3, 1] are the same


def test_answers_that_were_asked_for_least_lately_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(explained, "KEPT", 2)
    driver, hosts = Counted(), table(HOSTS)
    kept = Explained(driver)
    for project in "abacab":
        kept.of(request(project_id=project), hosts, None, 1)
    assert [spec.project_id for spec in driver.asked] == ["a", "b", "c", "b"]
