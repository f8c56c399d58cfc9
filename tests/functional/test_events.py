"""Every change of a case's state is announced, whoever makes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Queue

from labapi.rpc.consumer import BatchConsumer
from labapi.rpc.messages import CaseChanged, Message
from labapi.rpc.transport import EVENTS
from tests.hosts import RUN_SHELL, announce
from tests.lab import HOST, Gate, Lab, ask, until

CASE = {"plugin": "linux_system", "host": HOST, "method": "run_shell"}

States = list[tuple[str, str | None]]


class Listener:
    """Listens to all events of a lab."""

    def __init__(self, lab: Lab) -> None:
        self._heard: list[CaseChanged] = []
        queue = Queue("everything", EVENTS, routing_key="testcase.#", auto_delete=True)
        self._consumer = BatchConsumer(lab.transport, [queue], self._note, name="listener")
        self._consumer.start()
        assert self._consumer.consuming.wait(60)

    def _note(self, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, CaseChanged):
                self._heard += message.apart()

    def of(self, case: str, count: int) -> States:
        """Return the events of a case, once there are so many."""

        def heard() -> States:
            return [(event.state, event.result) for event in self._heard if event.case == case]

        until(lambda: len(heard()) >= count, what="the events of the case")
        return heard()

    def stop(self) -> None:
        self._consumer.stop()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab")).start()
    yield lab
    lab.stop()


@pytest.fixture(scope="module")
def listener(lab: Lab) -> Iterator[Listener]:
    listener = Listener(lab)
    yield listener
    listener.stop()


def accepted(lab: Lab, method: str, path: str = "", body: Any = None) -> dict[str, Any]:
    answer = ask(lab.app, f"/testcases{path}", body, method=method)
    assert answer.status_int == 202, answer.text
    shown: dict[str, Any] = answer.json
    return shown


def shell(script: str, host: str = HOST) -> dict[str, Any]:
    return {**CASE, "host": host, "parameters": {"command": "sh", "args": ["-c", script]}}


def test_from_dispatch_to_end(lab: Lab, listener: Listener) -> None:
    case = accepted(lab, "POST", body=shell("echo hello"))
    assert listener.of(case["id"], 2) == [("running", None), ("finished", "PASS")]


def test_a_running_case_that_is_cancelled(lab: Lab, listener: Listener, tmp_path: Path) -> None:
    case = accepted(lab, "POST", body=shell(Gate(tmp_path / "never").wait))
    assert listener.of(case["id"], 1) == [("running", None)]
    accepted(lab, "DELETE", f"/{case['id']}")
    states = listener.of(case["id"], 3)
    assert states == [("running", None), ("cancelling", None), ("finished", "CANCELLED")]


def test_a_waiting_case_that_is_cancelled(lab: Lab, listener: Listener) -> None:
    announce(lab.database, "asleep", plugins=RUN_SHELL)
    case = accepted(lab, "POST", body=shell("echo hello", "asleep"))
    assert listener.of(case["id"], 1) == [("queued", None)]
    cancelled = accepted(lab, "DELETE", f"/{case['id']}")
    assert (cancelled["result"], cancelled["reason"]) == ("CANCELLED", "cancelled")
    assert listener.of(case["id"], 2) == [("queued", None), ("finished", "CANCELLED")]
