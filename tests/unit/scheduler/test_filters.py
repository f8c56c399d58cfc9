"""A table of hosts in, chosen hosts out: one table for each filter."""

from __future__ import annotations

import datetime
from importlib import metadata
from typing import Any

import msgspec
import pytest

from labapi.scheduler import catalogue
from labapi.scheduler.host_state import HeldBy
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.spec import Access
from tests.unit.scheduler.hosts import host, names, only, request, scheduler, table

UNTIL = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)
LISTS = Access(prefix="allow")


def held(project: str | None, until: datetime.datetime | None = UNTIL) -> HeldBy:
    return HeldBy(lease=f"lease of {project}", project_id=project, until=until)


# (filter, hosts, what is asked, who passes, why the others do not)
TABLES: list[tuple[str, dict[str, Any], dict[str, Any], list[str], dict[str, str]]] = [
    (
        "up",
        {"h-1": {}, "h-2": {"up": False}, "h-3": {"disabled": True}, "h-4": {"trusts": False}},
        {},
        ["h-1"],
        {
            "h-2": "up: its agent is down",
            "h-3": "up: it is disabled",
            "h-4": "up: its agent does not trust the conductor's key",
        },
    ),
    (
        "healthy",
        {"h-1": {"bad": "5 faults in 600 s"}, "h-2": {}},
        {},
        ["h-2"],
        {"h-1": "healthy: it is benched: 5 faults in 600 s"},
    ),
    (
        "free_slots",
        {"h-1": {"active": 3}, "h-2": {"active": 4}, "h-3": {"active": 6}, "h-4": {"slots": 0}},
        {},
        ["h-1"],
        {"h-2": "free_slots: it has 4 cases for 4 slots"},
    ),
    (
        "free_slots",
        {"h-1": {"active": 3}, "h-2": {"active": 4}, "h-3": {"active": 6}, "h-4": {"slots": 0}},
        {"ahead": 2},
        ["h-1", "h-2", "h-4"],
        {},
    ),
    (
        "group",
        {
            "h-1": {},
            "h-2": {"groups": frozenset({"perf"}), "open_to": frozenset({"p1", "p2"})},
            "h-3": {"groups": frozenset({"farm"}), "open_to": frozenset({"p2"})},
        },
        {"project_id": "p1"},
        ["h-1", "h-2"],
        {"h-3": "group: it is in a group that is not the project's"},
    ),
    (
        "group",
        {
            "h-1": {},
            "h-2": {"groups": frozenset({"perf"}), "open_to": frozenset({"p1"})},
            "h-3": {"groups": frozenset({"perf"}), "open_to": frozenset({"p2"})},
        },
        {"project_id": "p1", "group": "perf"},
        ["h-2"],
        {"h-1": "group perf: it is not in this group"},
    ),
    (
        "group",
        {"h-1": {}, "h-2": {"groups": frozenset({"perf"}), "open_to": frozenset({"p1"})}},
        {"project_id": None},
        ["h-1"],
        {},
    ),
    (
        "zone",
        {"h-1": {}, "h-2": {"zone": "berlin"}},
        {"zone": "berlin"},
        ["h-2"],
        {"h-1": "zone berlin: it is in zone lab"},
    ),
    ("zone", {"h-1": {}, "h-2": {"zone": "berlin"}}, {}, ["h-1", "h-2"], {}),
    (
        "requires",
        {
            "h-1": {"metadata": {"rack": "r7"}, "facts": {"memory_total_mib": 512}},
            "h-2": {"metadata": {"rack": "r7"}, "facts": {"memory_total_mib": 8192}},
            "h-3": {"metadata": {"rack": "r8"}},
        },
        {"requires": ("rack=r7", "memory_total_mib >= 4096")},
        ["h-2"],
        {
            "h-1": "requires memory_total_mib >= 4096: its memory_total_mib is 512",
            "h-3": "requires rack=r7: its rack is r8",
        },
    ),
    (
        "same_host",
        {"h-1": {}, "h-2": {}},
        {"same_hosts": frozenset({"h-2", "gone"})},
        ["h-2"],
        {"h-1": "same_host: those cases are on gone, h-2"},
    ),
    (
        "same_host",
        {"h-1": {}},
        {"same_hosts": frozenset()},
        [],
        {"h-1": "same_host: those cases are on no host yet"},
    ),
    ("same_host", {"h-1": {}}, {}, ["h-1"], {}),
    (
        "different_host",
        {"h-1": {}, "h-2": {}},
        {"different_hosts": frozenset({"h-2"})},
        ["h-1"],
        {"h-2": "different_host: one of those cases is there"},
    ),
    (
        "retry",
        {"h-1": {}, "h-2": {}},
        {"tried": frozenset({"h-1"})},
        ["h-2"],
        {"h-1": "retry: this case failed there by the lab's fault"},
    ),
    (
        "lease",
        {
            "h-1": {},
            "h-2": {"held_by": held("p1")},
            "h-3": {"held_by": held("p2")},
            "h-4": {"held_by": held("p1", until=None)},
        },
        {"project_id": "p1"},
        ["h-1", "h-2"],
        {
            "h-3": "lease: a lease holds it until 2026-11-21T08:00:00+00:00",
            "h-4": "lease: a lease holds it and has not begun",
        },
    ),
    (
        "lease",
        {"h-1": {}, "h-2": {"held_by": held("p1")}, "h-3": {"held_by": held("p2")}},
        {"project_id": "p1", "lease": "lease of p1"},
        ["h-2"],
        {"h-1": "lease: the lease does not hold it"},
    ),
    (
        "lease",
        {"h-1": {"held_by": held("p2")}},
        {"project_id": "p1", "lease": "lease of p2"},
        [],
        {},
    ),
    (
        "access",
        {
            "h-1": {},
            "h-2": {"metadata": {"allow": "10.0.0.0/8, 192.0.2.1"}},
            "h-3": {"metadata": {"Allow-office": "192.0.2.1"}},
        },
        {"client": "10.1.2.3", "access": LISTS},
        ["h-1", "h-2"],
        {"h-3": "access"},
    ),
    ("access", {"h-1": {"metadata": {"allow": "192.0.2.1"}}}, {"client": "::1"}, ["h-1"], {}),
    (
        "catalogue",
        {"h-1": {}, "h-2": {"plugins": "{}"}, "h-3": {"plugins": "no JSON"}},
        {"plugin": "power", "method": "cycle", "parameters": {"ms": 5}},
        ["h-1"],
        {"h-2": "catalogue power.cycle: it does not offer this"},
    ),
    (
        "catalogue",
        {"h-1": {}},
        {"plugin": "power", "method": "cycle", "parameters": {"ms": "x"}},
        [],
        {"h-1": "catalogue power.cycle: parameters: parameters.ms: 'x' is not of type 'integer'"},
    ),
    ("catalogue", {"h-1": {}}, {"plugin": "power", "method": "cycle"}, ["h-1"], {}),
    ("catalogue", {"h-1": {}}, {"plugin": "power", "method": "melt"}, [], {}),
    ("catalogue", {"h-1": {}, "h-2": {"plugins": "{}"}}, {"plugin": "power"}, ["h-1"], {}),
    ("catalogue", {"h-1": {}, "h-2": {"plugins": "{}"}}, {}, ["h-1", "h-2"], {}),
]


@pytest.mark.parametrize(("name", "rows", "asked", "passing", "reasons"), TABLES)
def test_a_filter_lets_the_right_hosts_pass(
    name: str,
    rows: dict[str, dict[str, Any]],
    asked: dict[str, Any],
    passing: list[str],
    reasons: dict[str, str],
) -> None:
    hosts, spec = table(rows), request(**asked)
    driver = only([name])
    explained = driver.explain(spec, hosts)
    assert sorted(names(explained.hosts)) == passing
    assert sum(explained.turned_away.values()) == len(rows) - len(passing)
    for one in hosts:
        refused = driver.why_not(spec, one)
        assert (refused is None) is (one.host in passing)
        assert one.host not in reasons or refused == reasons[one.host]
    if name != "free_slots":
        chosen = {one.host for one in driver.select(spec, hosts, count=50)}
        assert chosen <= set(passing)
        assert bool(chosen) is bool(passing)


def test_there_is_a_table_for_each_filter() -> None:
    points = metadata.entry_points(group="labapi.scheduler.filters")
    ours = {point.name for point in points if point.value.startswith("labapi.")}
    assert {name for name, *_ in TABLES} == ours
    assert set(scheduler().conf.scheduler.filters) == ours


def test_a_large_catalogue_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"p{number}": {"m": {"description": "", "schema": None}} for number in range(3000)}
    large = host("h-1", plugins=msgspec.json.encode(many).decode())
    assert len(large.plugins) > catalogue.LARGE
    read: list[str] = []
    decode = catalogue.read

    def counted(text: str) -> catalogue.Catalogue:
        read.append(text)
        return decode(text)

    monkeypatch.setattr(catalogue, "read", counted)
    asked = request(plugin="p7", method="m", parameters={})
    driver = only(["catalogue"])
    for _ in range(3):
        assert names(driver.select(asked, HostStates([large]))) == ["h-1"]
    assert len(read) == 1
