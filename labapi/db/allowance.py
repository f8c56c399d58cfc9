"""How long a request may wait for the database, with all its statements together.

Whatever waits on its way to an answer of the database (for a connection, a lock, bytes) asks here
for how long it may. Outside a request nothing is shortened.
"""

from __future__ import annotations

import contextvars
import math
import time
from typing import Self

# Seconds to whose multiple a shortened wait is rounded up: to change a timeout has its cost, too.
STEP = 0.25


class Allowance:
    """The time that what runs inside it, in this thread, may spend on the database.

    :param seconds: spent only while the database is being asked
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._latest = math.inf
        self._began = 0.0
        self._until = math.inf

    def __enter__(self) -> Self:
        """Hold from here on."""
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Hold no more."""
        _current.reset(self._token)

    def end_within(self, seconds: float) -> None:
        """Let nothing wait after so many seconds from now, whatever is left."""
        self._latest = time.monotonic() + seconds

    def begin(self) -> bool:
        """Note that the asking begins; return whether there is time for it."""
        self._began = time.monotonic()
        self._until = min(self._began + self._left, self._latest)
        return self._until > self._began

    def end(self) -> None:
        """Note that the asking is over."""
        self._left -= time.monotonic() - self._began

    def remaining(self) -> float:
        """Return the seconds that are left of what began; not above zero when there are none."""
        return self._until - time.monotonic()


_current: contextvars.ContextVar[Allowance | None] = contextvars.ContextVar(
    "allowance", default=None
)


def current() -> Allowance | None:
    """Return the allowance of the request that runs here, None outside requests."""
    return _current.get()


def end_within(seconds: float) -> None:
    """Let this request ask nothing of the database after so many seconds from now."""
    if (allowance := _current.get()) is not None:
        allowance.end_within(seconds)


def remaining() -> float:
    """Return for how many seconds the database may still be waited for."""
    allowance = _current.get()
    return math.inf if allowance is None else allowance.remaining()


def shortened(seconds: float) -> float:
    """Return how long one wait may take that otherwise takes at most ``seconds``."""
    allowance = _current.get()
    if allowance is None:
        return seconds
    steps = math.ceil(allowance.remaining() / STEP)
    return min(seconds, STEP * max(steps, 1))
