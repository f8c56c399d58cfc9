"""Where the rate limit counts, and what happens when that place is away."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from limits import RateLimitItem
from limits.errors import ConfigurationError
from limits.storage import MovingWindowSupport, Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter

T = TypeVar("T")

STRATEGIES: dict[str, type[RateLimiter]] = {
    "moving-window": MovingWindowRateLimiter,
    "fixed-window": FixedWindowRateLimiter,
}
# After a failure nobody waits for the storage again for this long. Seconds.
PAUSE = 1.0


class StorageAway(Exception):
    """The storage does not answer, or answered too late a moment ago.

    :ivar first: whether this is news, and not the pause after an earlier failure
    """

    def __init__(self, first: bool) -> None:
        super().__init__("the storage of the rate limit is away")
        self.first = first


@dataclass(frozen=True, slots=True)
class Window:
    """One rule for one client.

    :ivar allowed: whether the rule lets the request through
    :ivar remaining: requests left
    :ivar reset: seconds until there are more
    """

    allowed: bool
    remaining: int
    reset: float


Key = tuple[RateLimitItem, str]


class MemoryStorage(Storage, MovingWindowSupport):
    """Counts in this process: exact among threads, and bounded.

    The library's own keeps a key for ever and starts a thread for nearly each request.

    :param most: keys that are kept; beyond that the one unused for longest goes
    """

    STORAGE_SCHEME = None

    def __init__(self, most: int = 100_000) -> None:
        super().__init__("memory://")
        self._most = most
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, deque[float]] = OrderedDict()
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        """Return what goes wrong: nothing."""
        return MemoryError

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count, unless that is more than ``limit`` in the last ``expiry`` seconds."""
        with self._lock:
            entries = self._entries.setdefault(key, deque())
            self._entries.move_to_end(key)
            self._bound(self._entries)
            now = time.time()
            while entries and entries[0] <= now - expiry:
                entries.popleft()
            if len(entries) + amount > limit:
                return False
            entries.extend([now] * amount)
            return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the oldest entry of the last ``expiry`` seconds came, and how many did."""
        with self._lock:
            now = time.time()
            entries = self._entries.get(key, deque())
            while entries and entries[0] <= now - expiry:
                entries.popleft()
            return (entries[0], len(entries)) if entries else (now, 0)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count in the window that began with the first, and return how many there are."""
        with self._lock:
            count, end = self._counts.get(key, (0, 0.0))
            now = time.time()
            if end <= now:
                count, end = 0, now + expiry
            self._counts[key] = (count + amount, end)
            self._counts.move_to_end(key)
            self._bound(self._counts)
            return count + amount

    def get(self, key: str) -> int:
        """Return the count of the window."""
        count, end = self._counts.get(key, (0, 0.0))
        return count if end > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """Return when the window ends."""
        return max(self._counts.get(key, (0, 0.0))[1], time.time())

    def check(self) -> bool:
        """Say that it works."""
        return True

    def reset(self) -> int | None:
        """Forget everything."""
        with self._lock:
            known = len(self._entries) + len(self._counts)
            self._entries.clear()
            self._counts.clear()
            return known

    def clear(self, key: str) -> None:
        """Forget one key."""
        with self._lock:
            self._entries.pop(key, None)
            self._counts.pop(key, None)

    def _bound(self, keys: OrderedDict[str, Any]) -> None:
        while len(keys) > self._most:
            keys.popitem(last=False)


def open_storage(uri: str, timeout: float) -> Storage:
    """Return the storage of a URI, not connected yet.

    :param timeout: seconds that one answer may take
    :raises ValueError: the URI is none, or what it needs is not installed
    """
    scheme = uri.partition(":")[0]
    if scheme == "memory":
        return MemoryStorage()
    options: dict[str, Any] = {"wrap_exceptions": True}
    try:
        if scheme in ("redis", "rediss", "redis+unix"):
            options |= _redis_options(timeout)
        elif scheme == "memcached":
            options |= {"connect_timeout": timeout, "timeout": timeout, "no_delay": True}
        else:
            raise ValueError("expected memory://, redis://host:port/db or memcached://host:port")
        return cast(Storage, storage_from_string(uri, **options))
    except (ConfigurationError, ImportError) as error:
        extra = "memcached" if scheme == "memcached" else "redis"
        raise ValueError(
            f"needs a client that is not installed; pip install 'labapi-middleware[{extra}]'"
        ) from error


def _redis_options(timeout: float) -> dict[str, Any]:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # The client's default is to try again for several seconds.
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
    }


class Counter:
    """Counts requests, and never waits longer than it may.

    :param storage: where
    :param strategy: one of ``STRATEGIES``
    :param timeout: seconds that all of the storage's answers for one request may take together
    :raises NotImplementedError: the storage cannot do the strategy
    """

    def __init__(self, storage: Storage, strategy: str, timeout: float) -> None:
        self._limiter = STRATEGIES[strategy](storage)
        self._timeout = timeout
        self._paused_until = 0.0

    def hit(self, keys: Sequence[Key]) -> list[Window]:
        """Count a request with each of its rules, unless one of them refuses it.

        Looking comes first, so that a request that is refused takes nothing from the other rules.
        The hit decides: of requests at the same moment, only as many are counted as there is room.

        :raises StorageAway: nothing is known
        """
        return self._guarded(lambda deadline: self._hit(keys, deadline))

    def peek(self, keys: Sequence[Key]) -> list[Window]:
        """Look without counting.

        :raises StorageAway: nothing is known
        """
        return self._guarded(lambda deadline: self._peek(keys, deadline))

    def _hit(self, keys: Sequence[Key], deadline: float) -> list[Window]:
        windows = self._peek(keys, deadline)
        if not all(window.allowed for window in windows):
            return windows
        # The one with the least left first: if it refuses now, the others are not touched.
        for at in sorted(range(len(keys)), key=lambda at: windows[at].remaining):
            self._in_time(deadline)
            window = windows[at]
            if not self._limiter.hit(*keys[at]):
                windows[at] = Window(False, 0, window.reset)
                return windows
            windows[at] = Window(True, window.remaining - 1, window.reset)
        return windows

    def _peek(self, keys: Sequence[Key], deadline: float) -> list[Window]:
        windows = []
        for item, subject in keys:
            self._in_time(deadline)
            stats = self._limiter.get_window_stats(item, subject)
            remaining = max(0, stats.remaining)
            reset = min(max(0.0, stats.reset_time - time.time()), item.get_expiry())
            if remaining == item.amount:
                reset = float(item.get_expiry())  # a window that begins now
            windows.append(Window(remaining > 0, remaining, reset))
        return windows

    @staticmethod
    def _in_time(deadline: float) -> None:
        if time.monotonic() > deadline:
            raise TimeoutError("the storage of the rate limit is too slow")

    def _guarded(self, work: Callable[[float], T]) -> T:
        now = time.monotonic()
        if now < self._paused_until:
            raise StorageAway(first=False)
        try:
            # Half of the time is for the last answer, which may begin just before the deadline.
            return work(now + self._timeout / 2)
        except Exception as error:
            # Whatever a client library raises: a rate limit is no reason for a 500.
            self._paused_until = time.monotonic() + PAUSE
            raise StorageAway(first=True) from error
