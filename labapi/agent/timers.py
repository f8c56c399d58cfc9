"""What the agent does by the clock: heartbeats, output under way, timeouts, tidying."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from oslo_log import log

from labapi.agent.attempts.attempt import Attempt
from labapi.agent.attempts.slots import Slots
from labapi.agent.processes.children import CHILDREN
from labapi.case import Reason

LOG = log.getLogger(__name__)

ABANDON = 10.0  # seconds beyond kill_grace that a method has to come back once it has to end
SOON = 0.05  # seconds after which a case has not finished in a moment: its start is reported
PAUSED = 30.0  # seconds behind the plan that mean that this process was stopped
TIDY = 3600.0  # seconds between removals of old entries from the journal


@dataclass(frozen=True, slots=True)
class Duties:
    """What to do, and how often.

    :ivar heartbeat: sends one
    :ivar resumed: called when this process was stopped for a while and goes on
    :ivar flush: tells that an attempt has started, and what it has written since the last time
    :ivar abandon: reports an attempt whose method does not come back
    :ivar tidy: forgets what is old
    :ivar heartbeat_interval: seconds
    :ivar output_interval: seconds
    :ivar grace: seconds between SIGTERM and SIGKILL
    """

    heartbeat: Callable[[], None]
    resumed: Callable[[], None]
    flush: Callable[[Attempt], None]
    abandon: Callable[[Attempt], None]
    tidy: Callable[[], object]
    heartbeat_interval: float
    output_interval: float
    grace: float


class Timers(threading.Thread):
    """One thread for everything that waits for a time; sleeps while there is nothing to wait for.

    :param slots: the attempts to look after
    """

    def __init__(self, slots: Slots, duties: Duties) -> None:
        super().__init__(name="agent-timers", daemon=True)
        self._slots = slots
        self._duties = duties
        self._change = threading.Condition()
        self._stopping = False
        self._next_look = 0.0
        self._asked = False

    def started(self) -> None:
        """Look after an attempt that has just started."""
        with self._change:
            if self._next_look > time.monotonic() + SOON:
                self._asked = True
                self._change.notify()

    @property
    def paused(self) -> bool:
        """Say whether this process was stopped, and this thread has not gone on yet."""
        return 0.0 < self._next_look < time.monotonic() - PAUSED

    def stop(self) -> None:
        """End the thread."""
        with self._change:
            self._stopping = True
            self._change.notify()
        self.join()

    def run(self) -> None:
        """Do what is due, then sleep until something is."""
        heartbeat = tidy = time.monotonic()
        while not self._stopping:
            if self.paused:
                self._guarded(self._duties.resumed)
            now = time.monotonic()
            if now >= heartbeat:
                self._guarded(self._duties.heartbeat)
                self._guarded(CHILDREN.sweep)
                heartbeat = now + self._duties.heartbeat_interval
            if now >= tidy:
                self._guarded(self._duties.tidy)
                tidy = now + TIDY
            due = min(heartbeat, tidy, *(self._look(a, now) for a in self._slots.running()))
            with self._change:
                self._next_look = due
                self._change.wait_for(
                    lambda: self._stopping or self._asked, max(0.0, due - time.monotonic())
                )
                self._asked = False

    def _look(self, attempt: Attempt, now: float) -> float:
        """Do what is due for one attempt; return when to look again."""
        duties = self._duties
        run, since = attempt.run, attempt.stop.since
        if run is None or attempt.started is None:
            return now + SOON
        due = attempt.started + SOON if attempt.flush_at is None else attempt.flush_at
        if now >= due:
            self._guarded(lambda: duties.flush(attempt))
            attempt.flush_at = due = now + duties.output_interval
        if since is None and now >= run.deadline:
            attempt.stop.set(Reason.TIMEOUT)
        if since is not None and now >= since + duties.grace + ABANDON:
            self._guarded(lambda: duties.abandon(attempt))
        return due

    def _guarded(self, duty: Callable[[], object]) -> None:
        """Do something that must not end the thread: a full disk, no process table entry left."""
        try:
            duty()
        except Exception:
            LOG.exception("a duty of the agent failed; it is done again in its time")
