"""An attempt at a case, from its arrival at the agent to its report."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from typing import Any

from labapi.agent.output import OutputBuffer
from labapi.agent.plugins.run import Run, Stop
from labapi.case import Result
from labapi.rpc.messages import CaseResult, CaseStarted, Message, Output, RunCase

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", re.ASCII)  # safe as a file's name
DETAIL = 2000  # characters of a detail that are reported


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended, before it is put into a message.

    :ivar reason: machine-readable, None with PASS and FAIL
    """

    result: Result
    reason: str | None = None
    detail: str | None = None
    exit_code: int | None = None
    data: Any = None


class Attempt:
    """One attempt that this agent has accepted.

    :param command: as it arrived
    :param max_output: bytes of output to keep
    :ivar id: the attempt's id
    :ivar arrived: monotonic time
    :ivar heard: monotonic time at which the command came last; it is resent while it is valid
    :ivar started: monotonic time, None while it waits
    :ivar flush_at: monotonic time at which its output is to be sent next, None at first
    :ivar speaking: held while it is reported on, so that nothing comes after its result
    :ivar told: the conductor knows that it runs
    """

    def __init__(self, command: RunCase, max_output: int) -> None:
        self.command = command
        self.id = command.attempt
        self.output = OutputBuffer(max_output)
        self.stop = Stop()
        self.arrived = self.heard = time.monotonic()
        self.started: float | None = None
        self.flush_at: float | None = None
        self.speaking = threading.Lock()
        self.told = False
        self.run: Run | None = None
        self._lock = threading.Lock()
        self._settled = False

    def settle(self) -> bool:
        """Take the right to report; True for the first caller only."""
        with self._lock:
            first = not self._settled
            self._settled = True
        return first

    def pieces(self) -> list[Output]:
        """Return what was written since the last call, as messages."""
        found: list[Output] = []
        while (piece := self.output.take()) is not None:
            found.append(self._output(*piece))
        return found

    def begun(self) -> CaseStarted:
        """Return the message that the attempt runs."""
        command = self.command
        age = time.monotonic() - (self.started or time.monotonic())
        return CaseStarted(
            case=command.case, attempt=command.attempt, host=command.host, age=round(age, 6)
        )

    def report(self, ending: Ending) -> list[Message]:
        """Close the output; return what is left of it and the result, as messages."""
        now = time.monotonic()
        *pieces, (offset, last) = self.output.close()
        command = self.command
        result = CaseResult(
            case=command.case,
            attempt=command.attempt,
            host=command.host,
            result=ending.result,
            reason=ending.reason,
            detail=ending.detail,
            exit_code=ending.exit_code,
            data=ending.data,
            ran=round(now - self.started, 6) if self.started is not None else None,
            output_offset=offset,
            output=last,
            output_size=self.output.size,
        )
        return [*(self._output(*piece) for piece in pieces), result]

    def _output(self, offset: int, data: bytes) -> Output:
        command = self.command
        return Output(
            case=command.case,
            attempt=command.attempt,
            host=command.host,
            offset=offset,
            data=data,
        )


def plain(text: str) -> str:
    """Return a text that any message can carry, within the length of a detail."""
    text = text.encode(errors="replace").decode()
    return text if len(text) <= DETAIL else text[: DETAIL - 1] + "…"
