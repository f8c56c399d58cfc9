"""Watching a case until it is finished: its output, why it waits, and what Ctrl-C does."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from labapi_client.cli.interrupts import Interrupts, Source
from labapi_client.cli.placement import obstacles
from labapi_client.cli.terminal import StatusLine, is_terminal
from labapi_client.exceptions import LabError, TimedOut

if TYPE_CHECKING:
    from labapi_client.lab import Lab
    from labapi_client.managers.testcases import Case

TICK = 0.25  # seconds between looks at the clock
POLL = 2.0  # seconds between questions why a case waits


class Watch:
    """Shows cases until they are finished.

    :param command: on whose streams
    :param output: show what the cases write
    :param longest: seconds after which a case is left to itself, None for no end
    """

    def __init__(self, command: Any, *, output: bool = True, longest: float | None = None) -> None:
        self._lab: Lab = command.lab
        self._command = command
        self._stdout = command.app.stdout
        quiet = bool(getattr(command.app.options, "quiet", False))
        self._status = StatusLine(command.app.stderr, on=not quiet)
        self._shows_output = output
        self._until = None if longest is None else time.monotonic() + longest
        self._ends_line = True

    def until_finished(self, case: Case) -> Case:
        """Return a case as it is at its end.

        :raises Left: the user does not want to wait any more
        :raises TimedOut: it took longer than it may
        """
        source = Source(self._output(case.id))
        source.start()
        seen = _Seen(self._lab, self._command, self._status, case)
        cancel = partial(self._lab.testcases.cancel, case.id)
        try:
            with Interrupts(
                self._command, f"case {case.id}", cancel, self._status.clear
            ) as interrupts:
                self._show(source, seen, interrupts)
        finally:
            self._status.clear()
        if not self._ends_line and is_terminal(self._stdout):
            self._write(b"\n")
        return self._lab.testcases.get(case.id)

    def _show(self, source: Source[bytes], seen: _Seen, interrupts: Interrupts) -> None:
        """Show the output to its end."""
        while True:
            try:
                interrupts.raise_pressed()
                piece = self._next(source, seen)
                if piece is None:
                    return
                with interrupts.later():
                    self._write(piece)
            except KeyboardInterrupt:
                interrupts.ask()

    def _output(self, case_id: str) -> Iterator[bytes]:
        if self._shows_output:
            yield from self._lab.testcases.output(case_id, follow=True)
        else:
            self._lab.testcases.wait(case_id)

    def _next(self, source: Source[bytes], seen: _Seen) -> bytes | None:
        """Return the next piece of output, None at its end."""
        while True:
            try:
                piece = source.pieces.get(timeout=TICK)
            except queue.Empty:
                if self._until is not None and time.monotonic() > self._until:
                    raise TimedOut(f"case {seen.case.id} is not finished yet; it goes on") from None
                if self._ends_line or not is_terminal(self._stdout):
                    seen.look()
                continue
            if isinstance(piece, Exception):
                raise piece
            return piece

    def _write(self, piece: bytes) -> None:
        self._status.clear()
        binary = getattr(self._stdout, "buffer", None)
        if binary is None:
            self._stdout.write(piece.decode("utf-8", "replace"))
        else:
            binary.write(piece)
            binary.flush()
        self._ends_line = piece.endswith(b"\n")


class _Seen:
    """What is known of a case while it is watched, and told where that is of use."""

    def __init__(self, lab: Lab, command: Any, status: StatusLine, case: Case) -> None:
        self._lab = lab
        self._command = command
        self._status = status
        self.case = case
        self._begun = time.monotonic()
        # A case that names no host is queued in the answer to its POST, and seldom a moment later.
        self._asked = self._begun - POLL
        self._told = ""
        self._away = False

    def look(self) -> None:
        """Ask why it waits, now and then, and tell; how long it takes only a terminal is told."""
        now = time.monotonic()
        if self.case.state == "queued" and now > self._asked + POLL:
            self._asked = now
            self._ask()
        if self.case.state == "queued" and not self._away:
            self._tell("; ".join(reasons(self.case)))
        self._status.show(f"{now - self._begun:.0f} s: {self._told or _doing(self.case)}")

    def _ask(self) -> None:
        try:
            self.case = self._lab.testcases.get(self.case.id)
        except LabError as error:
            # Once for the whole time: what was known before may not be true any more.
            if not self._away:
                self._tell(f"the lab cannot be asked: {error}")
            self._away = True
        else:
            self._away = False

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            if not self._status.on:
                self._command.say(text)


def reasons(case: Case) -> list[str]:
    """Say why a case waits, and how far it has got: the shortest first."""
    where = f"waits for {case.host}" if case.host else "waits for a host"
    waiting = case.waiting
    place = f", place {waiting.place}" if waiting and waiting.place else ""
    first = f"{where}{place}" + (f": {case.detail}" if case.detail else "")
    return [first, *(obstacles(waiting.turned_away, waiting.nearest) if waiting else ())]


def _doing(case: Case) -> str:
    return f"{case.plugin}.{case.method} on {case.host}"
