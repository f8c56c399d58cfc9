"""An attempt that was given up does not go on at its agent."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from labapi.agent.link import signs
from labapi.db import attempts, testcases
from tests.lab import HOST, Lab, ask, until


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signs, "HELD_AFTER", 0.1)
        lab = Lab(tmp_path_factory.mktemp("lab"), agent__heartbeat_interval=0.3).start()
        yield lab
        lab.stop()


def post(lab: Lab, script: str) -> str:
    case = {
        "plugin": "linux_system",
        "host": "lab-1",
        "method": "run_shell",
        "parameters": {"command": "sh", "args": ["-c", script]},
    }
    return str(ask(lab.app, "/testcases", case).json["id"])


@pytest.mark.parametrize("talks", [False, True], ids=["silent", "talking"])
def test_an_agent_ends_what_was_given_up(lab: Lab, tmp_path: Path, talks: bool) -> None:
    go_on = "while true; do echo on; sleep 0.1; done" if talks else "sleep 600"
    case = post(lab, f"touch {tmp_path}/began; {go_on}")
    until((tmp_path / "began").exists)
    now = datetime.datetime.now(datetime.UTC)
    given = lab.database.read(attempts.active_on, HOST)
    assert list(given) == [case]
    lab.database.write(attempts.lose, given, now, "silent", max_attempts=1)
    assert lab.agent is not None
    slots = lab.agent._slots
    until(lambda: not slots.running())
    row = lab.database.read(testcases.get, case)
    assert row is not None
    assert (row.result, row.reason) == ("ERROR", "agent_lost")
