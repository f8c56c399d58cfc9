"""Test plans as the SDK asks for them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from labapi_client import connect, exceptions, polling
from labapi_client.plan_tree import Plan
from tests.client.alone.scripted import Asked, Say, Scripted, fault

DONE = {"state": "finished", "result": "PASS", "counts": {"PASS": 1}}


def entry(result: str | None = "PASS", state: str = "finished") -> dict[str, Any]:
    return {
        "DESCRIPTION": None,
        "input": {"plugin": "linux_system", "method": "run_shell", "host": "lab-1"},
        "output": {"log": None, "result": result},
        "state": state,
        "case": "c-1",
    }


def plan(state: str, entries: dict[str, Any], **counts: int) -> dict[str, Any]:
    step = {"state": state, "result": None, "counts": counts, "DESCRIPTION": "a step"}
    test_case = {**step, "Parallel-Step-1": {**step, **entries}}
    result = "FAIL" if state == "finished" else None
    return {
        **{"id": "p-1", "name": "n", "state": state, "result": result},
        **{"counts": counts, "testplan": {"1": test_case}},
    }


def query(asked: Asked) -> dict[str, list[str]]:
    return parse_qs(urlsplit(asked.path).query)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "SHORTEST", 0.0)


def test_a_plan_is_sent_as_it_is_and_once() -> None:
    """A second try has the key of the first one."""
    away = fault(503, "serviceUnavailable", Retry_After="0")
    text = "name: x # as it is\n"
    with Scripted(away, Say(202, plan("queued", {}))) as server, connect(server.url) as lab:
        assert lab.plans.create(text).state == "queued"
    first, second = server.asked
    assert first.body == second.body == text.encode()
    assert first.headers["Content-Type"] == "application/yaml"
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_all_that_is_wrong_is_an_error_of_its_own() -> None:
    wrong = ["testplan/1: expected an object", "name: \x1b[31m", 5, "x" * 5000]
    body = {"badRequest": {"code": 400, "message": "no", "errors": wrong}}
    with (
        Scripted(Say(400, body)) as server,
        connect(server.url) as lab,
        pytest.raises(exceptions.BadRequest) as caught,
    ):
        lab.plans.check({})
    assert caught.value.errors == [wrong[0], "name: ?[31m", "x" * 2000]
    assert query(server.asked[0]) == {"dry_run": ["true"]}


@pytest.mark.parametrize("errors", ["text", {"a": 1}, None, 5])
def test_errors_of_a_stranger(errors: object) -> None:
    body = {"badRequest": {"code": 400, "message": "no", "errors": errors}}
    with (
        Scripted(Say(400, body)) as server,
        connect(server.url) as lab,
        pytest.raises(exceptions.BadRequest) as caught,
    ):
        lab.plans.get("p-1")
    assert caught.value.errors == []


def test_pages_of_a_tree_are_put_together() -> None:
    link = {"Link": '</v2.1/testplans/p-1?marker=1>; rel="next"'}
    pages = (
        Say(200, plan("running", {"1": entry()}), link),
        Say(200, plan("running", {"2": entry()})),
    )
    with Scripted(*pages) as server, connect(server.url) as lab:
        found = lab.plans.get("p-1")
    assert [one.path for one in found.entries()] == ["1/Parallel-Step-1/1", "1/Parallel-Step-1/2"]
    assert [(one.path, one.is_step) for one in found.nodes()] == [
        ("1", False),
        ("1/Parallel-Step-1", True),
    ]


def test_the_way_of_a_plan_costs_little() -> None:
    """Only what runs is asked for, and what did not pass once there is more of it."""
    running = Say(200, plan("running", {"1": entry(None, "running")}, running=1, queued=2))
    failed = Say(200, plan("running", {"2": entry(None, "running")}, FAIL=1, running=1, queued=1))
    answers = (
        *(running, running),
        *(failed, Say(200, plan("running", {"1": entry("FAIL")}, FAIL=1, running=1, queued=1))),
        failed,
        Say(200, plan("finished", {}, FAIL=1, PASS=2)),
    )
    with Scripted(*answers) as server, connect(server.url) as lab:
        seen = list(lab.plans.looks("p-1"))
    assert [query(asked).get("state", query(asked).get("result")) for asked in server.asked] == [
        *(["running"], ["running"], ["running"], ["FAIL"], ["running"], ["running"])
    ]
    assert all(query(asked)["output"] == ["false"] for asked in server.asked)
    assert [[one.path for one in look.ended] for look in seen] == [
        *([], ["1/Parallel-Step-1/1"], [])
    ]
    assert seen[-1].plan.finished


def test_looks_become_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that does not change is asked for less and less often, to a bound."""
    pauses: list[float] = []
    monkeypatch.setattr(polling, "SHORTEST", 0.5)
    monkeypatch.setattr("time.sleep", pauses.append)
    running, done = plan("running", {}, running=1), plan("finished", {}, FAIL=1)
    with Scripted(*[Say(200, running)] * 10, Say(200, done)) as server, connect(server.url) as lab:
        assert lab.plans.wait("p-1").result == "FAIL"
    assert len(pauses) == 10
    assert pauses[0] == pytest.approx(0.5, abs=0.5)
    assert pauses[-1] == pytest.approx(polling.LONGEST, abs=0.5)


def test_waiting_for_a_plan_ends_in_time() -> None:
    with (
        Scripted(Say(200, plan("running", {}, running=1))) as server,
        connect(server.url) as lab,
        pytest.raises(exceptions.TimedOut),
    ):
        lab.plans.wait("p-1", timeout=0.2)


def test_a_lab_that_is_away_for_a_moment() -> None:
    away = [fault(503, "serviceUnavailable", Retry_After="0")] * 6
    done = Say(200, plan("finished", {}, PASS=1))
    told: list[Plan] = []
    with Scripted(*away, done) as server, connect(server.url) as lab:
        lab.plans.wait("p-1", progress=lambda look: told.append(look.plan))
    assert [one.state for one in told] == ["finished"]


@pytest.mark.parametrize(
    "testplan",
    [[1], {"1": 5}, {"1": {"Serial-Step-1": []}}, {"1": DONE | {"Serial-Step-1": {"1": 5}}}],
)
def test_a_tree_of_a_stranger(testplan: object) -> None:
    body = {**plan("finished", {}), "testplan": testplan}
    with (
        Scripted(Say(200, body)) as server,
        connect(server.url) as lab,
        pytest.raises(exceptions.BadAnswer),
    ):
        list(lab.plans.entries("p-1"))
