"""A request that waits is answered with what the event of the end tells, or else the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from labapi.db import testcases
from labapi.rpc import messages
from labapi.rpc.messages import MAX_NEWS, fits_news
from tests.lab import HOST, Lab, ask

SHELL = {"plugin": "linux_system", "host": HOST, "method": "run_shell"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab")).start()
    yield lab
    lab.stop()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the cases whose end was looked up in the database."""
    found: list[str] = []
    ending = testcases.ending

    def noted(connection: Any, case: str) -> Any:
        found.append(case)
        return ending(connection, case)

    monkeypatch.setattr(testcases, "ending", noted)
    return found


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {**SHELL, "parameters": {"command": "sh", "args": ["-c", script]}, **more}


def run(lab: Lab, body: dict[str, Any]) -> dict[str, Any]:
    """Run a case, and check that whoever asks later is told the same."""
    answer = ask(lab.app, "/testcases?wait=60", body)
    assert answer.status_int == 200
    case: dict[str, Any] = answer.json
    assert ask(lab.app, f"/testcases/{case['id']}").json == case
    return case


@pytest.mark.parametrize(
    "body",
    [
        shell("echo hello"),
        shell("exit 3"),
        shell("printf '\\377'", priority=3, rerun_on_loss=True),
        shell("sleep 60", timeout=0.3),
        {name: value for name, value in shell("true").items() if name != "host"},
        {**SHELL, "method": "ping", "parameters": {"host": "127.0.0.1", "count": 1}},
        {**SHELL, "parameters": {"command": "/no/such"}},
    ],
    ids=["output", "fail", "bytes", "timeout", "placed", "data", "error"],
)
def test_an_answer_out_of_the_event_is_what_the_database_has(
    lab: Lab, looks: list[str], body: dict[str, Any]
) -> None:
    case = run(lab, body)
    assert case["state"] == "finished"
    # A slow machine makes the request look before the event is here; then it has looked once.
    assert len(looks) <= 1


def test_a_whole_case_needs_no_look(lab: Lab, looks: list[str]) -> None:
    for _ in range(5):
        run(lab, shell("echo hello"))
        if not looks:
            return
        looks.clear()
    raise AssertionError("each of five requests has looked into the database")


@pytest.mark.parametrize("size", [MAX_NEWS, MAX_NEWS + 1])
def test_what_is_too_large_for_an_event_is_looked_up(lab: Lab, looks: list[str], size: int) -> None:
    case = run(lab, shell(f"printf %0{size}d 1"))
    assert len(case["output"]) == size
    assert size <= MAX_NEWS or looks == [case["id"]]


def test_an_event_that_tells_nothing_is_enough(
    lab: Lab, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that requests are right with the events of conductors of earlier releases."""
    monkeypatch.setattr("labapi.conductor.reports._ending", lambda *_: None)
    case = run(lab, shell("echo hello"))
    assert case["output"] == "hello\n"
    assert looks == [case["id"]]


def test_what_fits() -> None:
    assert fits_news({"a": [1, 2]}, b"x" * MAX_NEWS)
    assert not fits_news(None, b"x" * (MAX_NEWS + 1))
    assert not fits_news("x" * MAX_NEWS, b"")
    nested: Any = 0
    for _ in range(messages.MAX_DEPTH - 1):
        nested = [nested]
    assert not fits_news(nested, b"")
