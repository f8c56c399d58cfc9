"""What Ctrl-C does while something is watched: it asks whether to cancel that."""

from __future__ import annotations

import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Generic, TypeVar

from labapi_client.cli.terminal import interactive, plain
from labapi_client.exceptions import Conflict, LabError

AHEAD = 64  # pieces that are read while one is shown

T = TypeVar("T")


class Left(Exception):
    """The user has left it to itself."""


class Source(threading.Thread, Generic[T]):
    """Reads what a lab says, so that nothing that the user does breaks the connection.

    :ivar pieces: what it has read; at its end None, or the error that ended it
    """

    def __init__(self, read: Iterable[T]) -> None:
        super().__init__(daemon=True)
        self._read = read
        self.pieces: queue.Queue[T | Exception | None] = queue.Queue(AHEAD)

    def run(self) -> None:
        """Read to the end."""
        try:
            for piece in self._read:
                self.pieces.put(piece)
            self.pieces.put(None)
        except Exception as error:  # noqa: BLE001  (it is raised where the piece is shown)
            self.pieces.put(error)


class Interrupts:
    """Ctrl-C, from the moment that it is entered; leaving it leaves Ctrl-C as it was.

    :param command: on whose streams the question is asked
    :param what: is cancelled: ``case 0c9f5a0e-…``
    :param cancel: cancels it
    :param clear: makes room for the question
    """

    def __init__(
        self, command: Any, what: str, cancel: Callable[[], object], clear: Callable[[], None]
    ) -> None:
        self._command = command
        self._what = what
        self._cancel = cancel
        self._clear = clear
        self._busy = self._pressed = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        """Take Ctrl-C from here on."""
        self._before = self._catch(self._interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        """Take it no more."""
        self._catch(self._before)

    @contextmanager
    def later(self) -> Iterator[None]:
        """Have Ctrl-C wait for the end of a piece, unless it comes twice."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def raise_pressed(self) -> None:
        """Do what a Ctrl-C has waited for.

        :raises KeyboardInterrupt: there was one
        """
        if self._pressed:
            self._pressed = False
            raise KeyboardInterrupt

    def ask(self) -> None:
        """Ask whether to cancel; no is to go on watching.

        :raises Left: nobody can be asked, or the answer is another Ctrl-C
        """
        stderr = self._command.app.stderr
        try:
            self._clear()
            if not interactive():
                raise Left
            stderr.write(f"\nCancel {plain(self._what)}? [y/N, Ctrl-C leaves it running] ")
            stderr.flush()
            if sys.stdin.readline().strip().lower() in ("y", "yes"):
                self._cancel_it()
        except KeyboardInterrupt:
            stderr.write("\n")
            raise Left from None

    def _cancel_it(self) -> None:
        try:
            self._cancel()
        except Conflict:
            return  # it was faster
        except LabError as error:
            self._command.failed(f"not cancelled, it goes on: {error}")
            return
        self._command.say("cancelled; it ends when its processes have ended")

    def _interrupted(self, _number: int, _frame: FrameType | None) -> None:
        """Take Ctrl-C: not in the middle of a piece, unless whoever reads it does not go on."""
        if self._busy and not self._pressed:
            self._pressed = True
        else:
            raise KeyboardInterrupt

    def _catch(self, handler: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            return signal.signal(signal.SIGINT, handler)
        return None
