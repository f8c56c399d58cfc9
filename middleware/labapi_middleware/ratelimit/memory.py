"""The rate limit's counts in this process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Protocol

from labapi_middleware.ratelimit.storage import Key, Window


class _Count(Protocol):
    """What one rule has counted of one client. Times are seconds of one clock."""

    def left(self, amount: int, expiry: int, now: float) -> tuple[int, float]:
        """Return how many requests are left, and the seconds until there are more."""
        ...

    def take_back(self) -> None:
        """Forget the last request."""
        ...

    def add(self, expiry: int, now: float) -> None:
        """Count a request."""
        ...


class _Moving:
    """The requests of the last ``expiry`` seconds."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def left(self, amount: int, expiry: int, now: float) -> tuple[int, float]:
        times = self._times
        while times and times[0] <= now - expiry:
            times.popleft()
        return amount - len(times), times[0] + expiry - now if times else expiry

    def add(self, expiry: int, now: float) -> None:
        self._times.append(now)

    def take_back(self) -> None:
        if self._times:
            self._times.pop()


class _Fixed:
    """The requests of a window that began with the first of them."""

    __slots__ = ("_count", "_end")

    def __init__(self) -> None:
        self._count, self._end = 0, 0.0

    def left(self, amount: int, expiry: int, now: float) -> tuple[int, float]:
        if self._end <= now:
            return amount, expiry
        return amount - self._count, self._end - now

    def add(self, expiry: int, now: float) -> None:
        if self._end <= now:
            self._count, self._end = 0, now + expiry
        self._count += 1

    def take_back(self) -> None:
        self._count = max(0, self._count - 1)


STRATEGIES: dict[str, type[_Moving] | type[_Fixed]] = {
    "moving-window": _Moving,
    "fixed-window": _Fixed,
}


class MemoryCounter:
    """Counts in this process: exact among threads, and bounded.

    :param strategy: one of ``STRATEGIES``
    :param most: counts that are kept; beyond that the one unused for longest goes
    """

    def __init__(self, strategy: str, most: int = 100_000) -> None:
        self._new = STRATEGIES[strategy]
        self._most = most
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def hit(self, keys: Sequence[Key]) -> list[Window]:
        """Count a request with each of its rules, unless one of them refuses it."""
        with self._lock:
            now = time.monotonic()
            counts = [self._count(key) for key in keys]
            windows = [_window(key, count, now) for key, count in zip(keys, counts, strict=True)]
            if not all(window.allowed for window in windows):
                return windows
            for (item, _), count in zip(keys, counts, strict=True):
                count.add(item.get_expiry(), now)
        return [Window(True, window.remaining - 1, window.reset) for window in windows]

    def peek(self, keys: Sequence[Key]) -> list[Window]:
        """Look without counting."""
        with self._lock:
            now = time.monotonic()
            return [_window(key, self._count(key), now) for key in keys]

    def take_back(self, keys: Sequence[Key]) -> None:
        """Forget the last request that was counted with each of the rules."""
        with self._lock:
            for key in keys:
                self._count(key).take_back()

    def _count(self, key: Key) -> _Count:
        item, subject = key
        name = f"{item.namespace}/{subject}"
        count = self._counts.get(name)
        if count is None:
            count = self._counts[name] = self._new()
            while len(self._counts) > self._most:
                self._counts.popitem(last=False)
        else:
            self._counts.move_to_end(name)
        return count


def _window(key: Key, count: _Count, now: float) -> Window:
    item = key[0]
    remaining, reset = count.left(item.amount, item.get_expiry(), now)
    return Window(remaining > 0, remaining, reset)
