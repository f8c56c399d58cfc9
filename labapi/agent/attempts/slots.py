"""The attempts of an agent: so many run at once, the others wait for their turn."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from oslo_log import log

from labapi.agent.attempts.attempt import Attempt
from labapi.agent.errors import CannotStart

LOG = log.getLogger(__name__)


class Counts(NamedTuple):
    """How many attempts there are."""

    running: int
    waiting: int
    abandoned: int


class Slots:
    """Threads that run attempts; they are started as they are needed.

    :param count: attempts that run at the same time
    :param run: runs one; must not raise
    """

    def __init__(self, count: int, run: Callable[[Attempt], None]) -> None:
        self._count = count
        self._run = run
        self._lock = threading.Lock()
        self._wanted = threading.Condition(self._lock)  # idle threads wait for work
        self._change = threading.Condition(self._lock)  # others wait for the end of all that run
        self._waiting: dict[str, Attempt] = {}
        self._running: dict[str, Attempt] = {}
        self._abandoned: dict[str, bool] = {}  # whether another thread takes the place
        self._threads = 0
        self._idle = 0
        self._ending = False

    def submit(self, attempt: Attempt) -> None:
        """Let an attempt run as soon as a slot is free.

        :raises CannotStart: the machine has no thread to give, and nothing runs that would free one
        """
        with self._lock:
            self._waiting[attempt.id] = attempt
            if self._idle >= len(self._waiting) or self._threads >= self._count:
                self._wanted.notify()
                return
            try:
                self._start()
            except RuntimeError as error:
                if self._threads == 0:
                    del self._waiting[attempt.id]
                    raise CannotStart(f"the agent cannot start a thread: {error}") from error

    def waits(self, attempt: str) -> Attempt | None:
        """Return an attempt that waits; None if it does not."""
        with self._lock:
            return self._waiting.get(attempt)

    def withdraw(self, attempt: str) -> Attempt | None:
        """Remove an attempt that waits; None if it does not."""
        with self._lock:
            return self._waiting.pop(attempt, None)

    def drain(self) -> list[Attempt]:
        """Remove and return all attempts that wait."""
        with self._lock:
            waiting = list(self._waiting.values())
            self._waiting.clear()
            return waiting

    def running(self, attempt: str | None = None) -> list[Attempt]:
        """Return the attempts that run, or the one of that id."""
        with self._lock:
            if attempt is None:
                return list(self._running.values())
            return [self._running[attempt]] if attempt in self._running else []

    def held(self, since: float) -> dict[str, str]:
        """Return ``{attempt: case}`` of what waits or runs since before this monotonic time."""
        with self._lock:
            attempts = [*self._running.values(), *self._waiting.values()]
        return {a.id: a.command.case for a in attempts if a.arrived < since}

    def abandon(self, attempt: Attempt) -> None:
        """Give the slot of an attempt away although its method has not come back.

        The stuck thread costs memory, so no more than twice as many threads as slots exist: with
        as many stuck as there are slots, each further one keeps its slot.
        """
        with self._lock:
            if self._running.pop(attempt.id, None) is None:
                return
            replaced = len(self._abandoned) < self._count
            self._abandoned[attempt.id] = replaced
            if replaced:
                self._threads -= 1
                if self._waiting:
                    with contextlib.suppress(RuntimeError):  # the next case that comes tries again
                        self._start()

    def counts(self) -> Counts:
        """Return how many attempts run, wait, and are stuck."""
        with self._lock:
            return Counts(len(self._running), len(self._waiting), len(self._abandoned))

    def room(self, limit: int) -> bool:
        """Say whether fewer than ``limit`` attempts wait."""
        with self._lock:
            return len(self._waiting) < limit and not self._ending

    def shut(self) -> None:
        """Start no more of those that wait."""
        with self._lock:
            self._ending = True
            self._wanted.notify_all()

    def end(self, timeout: float) -> bool:
        """Wait for the running attempts, at most so many seconds; say whether all have ended."""
        with self._lock:
            return self._change.wait_for(lambda: not self._running, timeout)

    def _start(self) -> None:
        threading.Thread(target=self._work, name="agent-slot", daemon=True).start()
        self._threads += 1

    def _work(self) -> None:
        while (attempt := self._next()) is not None:
            try:
                self._run(attempt)
            except Exception:
                LOG.exception("attempt %s was not brought to its end", attempt.id)
            with self._lock:
                self._running.pop(attempt.id, None)
                if not self._running:
                    self._change.notify_all()
                if self._abandoned.pop(attempt.id, False):
                    return

    def _next(self) -> Attempt | None:
        with self._lock:
            self._idle += 1
            try:
                while not (self._waiting or self._ending):
                    self._wanted.wait()
            finally:
                self._idle -= 1
            if self._ending:
                self._threads -= 1
                return None
            now = time.monotonic()
            first = min(self._waiting.values(), key=lambda attempt: _turn(attempt, now))
            attempt = self._waiting.pop(first.id)
            self._running[attempt.id] = attempt
            return attempt


def _turn(attempt: Attempt, now: float) -> tuple[bool, float]:
    """Return what the order of attempts that wait goes by; equal ones are in that of arrival.

    First those whose patience is over, in the order in which it came to its end: nobody waits here
    for ever, however many urgent ones come. Then the lowest rank.
    """
    patience = attempt.command.patience
    if patience is not None and now >= attempt.arrived + patience:
        return False, attempt.arrived + patience
    return True, attempt.command.rank
