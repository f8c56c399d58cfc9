"""When this conductor could hear: only such time counts as silence of a host.

A host is judged by heartbeats that did not come. That says nothing of a time in which none could
have come: the database or the broker was away, or this conductor slept or was not there. Each
conductor judges by what it could hear itself, so that it is right with several of them, and after
all of them were gone: what others heard meanwhile stands in the database.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable

from oslo_config import cfg

HEARTBEATS_MISSED = 2  # after so many a connection counts as dead; until then it looks alive
AGENTS_RETURN = 10.0  # seconds that agents have to say something, once they may try again
SLACK = 3.0  # seconds by which looks may come late on a busy machine
MOST = 100  # times of deafness that are remembered one by one

Span = tuple[float, float]  # from and to, in seconds since the epoch


class Hearing:
    """Remembers when nobody could have been heard here; safe to use from several threads.

    :param conf: configuration with the groups ``[conductor]`` and ``[messaging]``
    :param line: number of the connection over which heartbeats come, 0 while there is none
    """

    def __init__(self, conf: cfg.ConfigOpts, line: Callable[[], int]) -> None:
        self._line = line
        self._longest = 2 * conf.conductor.sweep_interval + SLACK
        self._doubt = float(HEARTBEATS_MISSED * conf.messaging.heartbeat)
        self._return = conf.messaging.retry_interval_max + AGENTS_RETURN
        self._lock = threading.Lock()
        self._last: float | None = None
        self._last_line = 0
        self._deaf: list[Span] = []

    def listen(self, now: datetime.datetime) -> None:
        """Take note that this conductor is awake and has just written into the database."""
        with self._lock:
            moment, line = now.timestamp(), self._line()
            if self._last is None or moment < self._last - self._longest:
                # It starts, or its clock was set back: nothing is known of the time before.
                self._deaf = [(float("-inf"), moment + self._return)]
            elif moment <= self._last:
                return  # another thread was faster
            elif moment - self._last > self._longest:
                self._note(self._last, moment + self._return)
            elif line == 0 or line != self._last_line:
                self._note(self._last - self._doubt, moment + self._return)
            self._last, self._last_line = moment, line

    def heard_for(self, since: datetime.datetime, now: datetime.datetime) -> float:
        """Return for how many seconds since then something could have been heard."""
        start, end = since.timestamp(), now.timestamp()
        with self._lock:
            if self._last is None:
                return 0.0
            deaf = sum(max(0.0, min(end, until) - max(start, begin)) for begin, until in self._deaf)
        return max(0.0, end - start - deaf)

    def _note(self, begin: float, end: float) -> None:
        while self._deaf and self._deaf[-1][1] >= begin:
            begin = min(begin, self._deaf.pop()[0])
        self._deaf.append((begin, end))
        if len(self._deaf) > MOST:
            # What is that long ago is taken as deaf altogether: a verdict may be late, not wrong.
            self._deaf[:2] = [(self._deaf[0][0], self._deaf[1][1])]
