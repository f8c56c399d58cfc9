"""Where the rate limit counts, and what happens when that place is away."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, cast
from urllib.parse import SplitResult, urlsplit

from limits import RateLimitItem
from limits.errors import ConfigurationError
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter

T = TypeVar("T")

STRATEGIES: dict[str, type[RateLimiter]] = {
    "moving-window": MovingWindowRateLimiter,
    "fixed-window": FixedWindowRateLimiter,
}
_SCHEMES = {"redis", "rediss", "redis+unix", "memcached"}
# After a failure nobody waits for the storage again for this long. Seconds.
PAUSE = 1.0


class StorageAway(Exception):
    """The storage does not answer, or answered too late a moment ago.

    :ivar first: whether this is news, and not the pause after an earlier failure
    """

    def __init__(self, first: bool) -> None:
        super().__init__("the storage of the rate limit is away")
        self.first = first


class Window(NamedTuple):
    """One rule for one client.

    :ivar allowed: whether the rule lets the request through
    :ivar remaining: requests left
    :ivar reset: seconds until there are more
    """

    allowed: bool
    remaining: int
    reset: float


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """The files of TLS to a storage.

    :ivar ca: issuers that are trusted, None for those of the system
    :ivar cert: the certificate that is shown, None for none
    :ivar key: its key, None if it is in the same file
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


Key = tuple[RateLimitItem, str]


def open_storage(uri: str, timeout: float, tls: TLSFiles | None = None) -> Storage:
    """Return the storage of a URI, not connected yet.

    :param timeout: seconds that one answer may take
    :param tls: for ``rediss://``; name and chain of the server's certificate are always checked
    :raises ValueError: there is no storage for this URI, or its client is not installed
    """
    scheme = _checked(uri).scheme
    options: dict[str, Any] = {"wrap_exceptions": True}
    try:
        if scheme in ("redis", "rediss", "redis+unix"):
            options |= _redis_options(timeout)
            if scheme == "rediss":
                options |= _tls_options(tls or TLSFiles())
        else:
            options |= {"connect_timeout": timeout, "timeout": timeout, "no_delay": True}
        return cast(Storage, storage_from_string(uri, **options))
    except (ConfigurationError, ImportError) as error:
        extra = "memcached" if scheme == "memcached" else "redis"
        raise ValueError(
            f"needs a client that is not installed; pip install 'labapi-middleware[{extra}]'"
        ) from error


def _checked(uri: str) -> SplitResult:
    """Return the parts of a URI that names a storage; the clients make something of any text.

    :raises ValueError: it names none
    """
    expected = "expected memory://, redis://host:port/db or memcached://host:port"
    try:
        parts = urlsplit(uri)
        fits = parts.port != 0 and not re.search(r"\s", uri)
    except ValueError:  # a port that is not a number
        raise ValueError(expected) from None
    somewhere = parts.netloc or parts.scheme == "redis+unix"
    if not (fits and somewhere and parts.scheme in _SCHEMES):
        raise ValueError(expected)
    if parts.scheme in ("redis", "rediss") and not re.fullmatch(r"(/[0-9]*)?", parts.path):
        raise ValueError("expected the number of a database behind the last /, such as /0")
    return parts


def _redis_options(timeout: float) -> dict[str, Any]:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # The client's default is to try again for several seconds.
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
    }


def _tls_options(tls: TLSFiles) -> dict[str, Any]:
    # Older clients did not check the name unless they were told to.
    return {
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_ca_certs": tls.ca,
        "ssl_certfile": tls.cert,
        "ssl_keyfile": tls.key,
    }


class Counter(Protocol):
    """Counts requests."""

    def hit(self, keys: Sequence[Key]) -> list[Window]:
        """Count a request with each of its rules, unless one of them refuses it.

        A request that is refused takes nothing from the other rules.

        :raises StorageAway: nothing is known
        """
        ...

    def peek(self, keys: Sequence[Key]) -> list[Window]:
        """Look without counting.

        :raises StorageAway: nothing is known
        """
        ...


class StorageCounter:
    """Counts in a storage that others share, and never waits longer than it may.

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
        """
        return self._guarded(lambda deadline: self._hit(keys, deadline))

    def peek(self, keys: Sequence[Key]) -> list[Window]:
        """Look without counting."""
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
