"""What is told of a case while it is watched."""

from __future__ import annotations

import datetime
import io

import pytest

import labapi_client
from labapi_client.cli import watch
from labapi_client.cli.terminal import StatusLine
from labapi_client.managers.testcases import Case
from tests.client.conftest import Served
from tests.processes import free_port

CASE = Case(
    id="0c9f5a0e-1d26-4f0f-9df6-6d3a1a3f1d0f",
    plugin="linux_system",
    method="run_shell",
    timeout=600.0,
    state="queued",
    created_at=datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC),
)


class Terminal:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_a_lab_that_is_away_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    with labapi_client.connect(f"http://127.0.0.1:{free_port()}") as lab:
        seen = watch._Seen(lab, terminal, StatusLine(io.StringIO()), CASE)
        for poll in (0.0, 600.0, 0.0):
            monkeypatch.setattr(watch, "POLL", poll)
            seen.look()
    (away,) = terminal.said
    assert away.startswith("the lab cannot be asked: no connection to ")


def test_a_case_that_has_a_host_meanwhile_is_not_said_to_wait(served: Served) -> None:
    terminal = Terminal()
    with labapi_client.connect(f"http://127.0.0.1:{served.port}") as lab:
        case = lab.testcases.create("linux_system", "run_shell", parameters={"command": "true"})
        assert case.state == "queued"
        lab.testcases.wait(case.id)
        watch._Seen(lab, terminal, StatusLine(io.StringIO()), case).look()
    assert terminal.said == []
