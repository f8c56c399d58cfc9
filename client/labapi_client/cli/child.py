"""A program that runs here, and gets the signals that are sent to ``lab``."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

Program = subprocess.Popen[bytes]

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child:
    """A program, and a context manager: within, what would end ``lab`` ends the program.

    Until there is a program a signal ends ``lab`` by an exception, so that it can clean up.
    """

    def __init__(self) -> None:
        self._process: Program | None = None
        self._starts = False
        self._early: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Child:
        """Take signals, but for those that are ignored (``nohup``)."""
        for number in ENDING:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._taken)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave signals as they were."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def start(self, command: Sequence[str], told: Mapping[str, str]) -> Program:
        """Start the program, and return it.

        :param told: what its environment has beside this one
        :raises OSError: it cannot be started
        """
        self._starts = True
        self._process = subprocess.Popen(command, env={**os.environ, **told})
        if self._early is not None:
            self._pass_on(self._early)
        return self._process

    def _taken(self, number: int, _frame: FrameType | None) -> None:
        if self._process is not None:
            self._pass_on(number)
        elif self._starts:
            self._early = number
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)

    def _pass_on(self, number: int) -> None:
        """Send a signal to the program; Ctrl-C the terminal has sent it already."""
        if number != signal.SIGINT and self._process is not None:
            self._process.send_signal(number)


def ended(program: Program, seconds: float) -> int | None:
    """Return the exit status as a shell has it, None if it runs for so many seconds more."""
    try:
        status = program.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    return status if status >= 0 else 128 - status
