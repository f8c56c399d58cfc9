"""Which cases are given to their hosts as they are made, and which wait, and what these say."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from labapi.db import attempts, hosts, outputs, purge, services, testcases
from tests.hosts import RUN_SHELL, announce, beat
from tests.lab import Lab, ask, wait_again


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose conductor does nothing and whose hosts have no agent behind them."""
    lab = Lab(tmp_path_factory.mktemp("lab"), scheduler__dispatch_ahead=1).start(agent=False)
    lab.conductor.stop()
    lab.backend.hints.stop()  # what it finds out about the broker is what the tests say
    yield lab
    lab.stop()


@pytest.fixture
def host(lab: Lab) -> str:
    """The name of a host with one slot, so that there is room for two cases."""
    name = announce(lab.database, f"host-{uuid.uuid4().hex[:8]}", plugins=RUN_SHELL)
    beat(lab.database, name)
    return name


def post(lab: Lab, host: str) -> Any:
    body = {"plugin": "linux_system", "host": host, "method": "run_shell", "parameters": {}}
    answer = ask(lab.app, "/testcases", body)
    assert answer.status_int == 202, answer.text
    return lab.database.read(testcases.get, answer.json["id"])


def show(lab: Lab, case: Any) -> Any:
    """Return a case as the API shows it, by itself and in a list alike."""
    shown = ask(lab.app, f"/testcases/{case.uuid}").json
    page = ask(lab.app, f"/testcases?host={case.host}").json
    listed = {one["id"]: one for one in page["testcases"]}
    assert listed[case.uuid]["detail"] == shown["detail"]
    return shown


def test_a_host_is_given_what_it_has_room_for(lab: Lab, host: str) -> None:
    cases = [post(lab, host) for _ in range(4)]
    assert [case.state for case in cases] == ["running", "running", "queued", "queued"]
    assert [case.attempts for case in cases] == [1, 1, 0, 0]
    assert len({case.attempt for case in cases[:2]}) == 2
    assert [case.dispatched_at for case in cases[2:]] == [None, None]
    assert [show(lab, case)["detail"] for case in cases] == [
        *(None, None),
        *2 * ("the host is full: it has 2 cases, and runs 1 at a time",),
    ]


def test_nobody_is_given_a_place_past_who_waits(lab: Lab, host: str) -> None:
    first = post(lab, host)
    lab.database.write(
        attempts.change,
        {first.id: {"state": "queued", "attempt": None, "dispatched_at": None}},
    )
    assert post(lab, host).state == "queued"


def test_a_drained_host_is_given_nothing(lab: Lab, host: str) -> None:
    lab.database.write(services.switch, services.AGENT, host, disabled=True, reason="maintenance")
    case = post(lab, host)
    assert case.state == "queued"
    assert show(lab, case)["detail"] == "the host is disabled: maintenance"
    switch = {"disabled": True, "by": "alice"}
    lab.database.write(services.switch, services.AGENT, host, **switch, reason="a new disk")
    assert show(lab, case)["detail"] == "the host is disabled by alice: a new disk"
    lab.database.write(services.switch, services.AGENT, host, **switch, reason=None)
    assert show(lab, case)["detail"] == "the host is disabled by alice"
    lab.database.write(services.switch, services.AGENT, host, disabled=False, reason=None)
    assert show(lab, case)["detail"] is None


def test_a_silent_host_is_given_nothing(lab: Lab, host: str) -> None:
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=61)
    lab.database.write(services.beat, services.AGENT, {host: None}, long_ago)
    case = post(lab, host)
    assert case.state == "queued"
    since = f"{long_ago:%Y-%m-%dT%H:%M:%SZ}"
    assert show(lab, case)["detail"] == f"the host is down: last heard of at {since}"
    lab.database.write(hosts.dispute, {host: "b"})
    assert show(lab, case)["detail"].endswith(
        "; another agent uses its name, and an operator has to decide"
    )
    lab.database.write(services.beat, services.AGENT, {host: None}, long_ago, stopped=True)
    assert f": its agent was told to stop, last heard of at {since};" in show(lab, case)["detail"]
    lab.database.write(purge.delete_host, host)
    assert show(lab, case)["detail"] == "the host is not on the list of hosts"


def test_a_case_that_runs_again_shows_nothing_of_its_first_try(lab: Lab, host: str) -> None:
    case = post(lab, host)
    now = datetime.datetime.now(datetime.UTC)
    lab.database.write(attempts.change, {case.id: {"started_at": now, "output_size": 16}})
    lab.database.write(outputs.add, [(case.id, 0, b"of the first try")])
    assert show(lab, case)["output"] == "of the first try"
    wait_again(lab.database, case.uuid, "its agent stopped while it ran; it runs again")
    lab.database.write(services.switch, services.AGENT, host, disabled=True, reason="smoke")
    shown = show(lab, case)
    assert (shown["state"], shown["output"], shown["output_size"]) == ("queued", "", 0)
    assert (shown["started_at"], shown["exit_code"]) == (None, None)
    assert shown["detail"] == (
        "its agent stopped while it ran; it runs again; the host is disabled: smoke"
    )


def test_a_remark_of_an_earlier_release_is_not_believed(lab: Lab, host: str) -> None:
    case = post(lab, host)
    old = {"state": "queued", "attempt": None, "detail": "the host is down; the case waits for it"}
    lab.database.write(attempts.change, {case.id: old})
    assert show(lab, case)["detail"] is None


def test_while_the_broker_is_away_cases_wait(
    lab: Lab, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab.backend.hints, "away", True)
    assert post(lab, host).state == "queued"


def delete(lab: Lab, host: str) -> Any:
    return ask(lab.app, f"/slaves/{host}", method="DELETE")


def test_a_host_that_is_down_can_be_removed_with_its_cases(lab: Lab, host: str) -> None:
    cases = [post(lab, host) for _ in range(3)]
    up = delete(lab, host)
    assert up.status_int == 409
    assert f"labapi-manage agent remove {host} --apply" in up.json["conflictingRequest"]["message"]
    gone = datetime.datetime.now(datetime.UTC)
    lab.database.write(services.beat, services.AGENT, {host: None}, gone, stopped=True)
    done = delete(lab, host)
    assert done.json["ended"] == {"host_removed": 1, "agent_lost": 2}
    assert f"labapi-manage agent remove {host} --apply" in done.json["left"]
    reasons = [lab.database.read(testcases.get, case.uuid).reason for case in cases]
    assert reasons == ["agent_lost", "agent_lost", "host_removed"]
    assert delete(lab, host).status_int == 404
