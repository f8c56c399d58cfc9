"""Check passwords so that clients that guess do not hold up others.

A check takes bcrypt 50 to 200 ms of a processor, by design. So right passwords are remembered, each
password counts as wrong until it is checked, and only a few checks run at the same time.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import math
import secrets
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

import bcrypt
from limits import RateLimitItem

from labapi_middleware.ratelimit.memory import MemoryCounter
from labapi_middleware.ratelimit.storage import Key

# bcrypt reads no more of a password than this, so two longer ones could be the same to it. Bytes.
LONGEST_PASSWORD = 72
# How long a login waits for its turn, and for its check. Seconds.
LONGEST_WAIT = 5.0
# Logins that are being checked or wait for that; one more is refused.
MOST_WAITING = 16
# Addresses and users that are counted; beyond that the one unused for longest is forgotten.
MOST_COUNTED = 10_000


class Refused(Exception):
    """A password that is not checked.

    :ivar retry_after: whole seconds until it would be
    """

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = max(1, math.ceil(retry_after))


class TooManyFailures(Refused):
    """There were too many wrong passwords; the text says whose, and what is allowed."""


class Busy(Refused):
    """Too many passwords are being checked."""


class Failures:
    """Counts wrong passwords by address and by user, in this process.

    :param limits: what is allowed, by what is counted (``address``, ``user``); None is anything
    """

    def __init__(self, **limits: RateLimitItem | None) -> None:
        self._limits = {what: item for what, item in limits.items() if item is not None}
        for what, item in self._limits.items():
            item.namespace = what
        self._counter = MemoryCounter("moving-window", MOST_COUNTED)

    def add(self, **whose: str) -> list[Key]:
        """Count a password as wrong before it is known, so that none slips through beside it.

        :param whose: the address and the user that the password is counted for
        :returns: what :meth:`take_back` needs if it was right
        :raises TooManyFailures: it must not be checked
        """
        keys = [(item, whose[what]) for what, item in self._limits.items()]
        for (item, _), window in zip(keys, self._counter.hit(keys), strict=True):
            if not window.allowed:
                reason = f"more wrong passwords of this {item.namespace} than {written(item)}"
                raise TooManyFailures(reason, window.reset)
        return keys

    def take_back(self, keys: list[Key]) -> None:
        """Forget what was counted."""
        self._counter.take_back(keys)


def written(item: RateLimitItem) -> str:
    """Return a limit as options have it: ``10 per minute``."""
    time = item.GRANULARITY.name
    return f"{item.amount} per {time if item.multiples == 1 else f'{item.multiples} {time}s'}"


class Verifier:
    """Checks passwords, and remembers those that were right for a while.

    What is remembered is an HMAC of user, hash and password with a key that never leaves the
    process: a changed password is another entry, and nothing in memory helps to find one. The same
    login sent by many at once, as the jobs of one machine do, is checked once.

    :param seconds: how long to remember; 0 is not at all
    :param size: how many to remember at most
    :param at_once: how many checks run at the same time
    :param failures: counts wrong passwords, and says when there were too many
    """

    def __init__(self, seconds: float, size: int, at_once: int, failures: Failures) -> None:
        self._seconds = seconds
        self._size = size
        self._failures = failures
        self._key = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()
        self._running: dict[bytes, Future[bool]] = {}
        self._slots = threading.BoundedSemaphore(at_once)

    def verify(self, user: str, hashed: str, password: bytes, address: str) -> bool:
        """Say whether this is the password of the hash.

        :param address: of the client, to count wrong passwords
        :raises TooManyFailures: it is not checked, because earlier ones were wrong
        :raises Busy: it is not checked, because so many others are
        """
        if len(password) > LONGEST_PASSWORD or b"\0" in password:
            return False
        message = b"\0".join((user.encode(), hashed.encode(), password))
        key = hmac.digest(self._key, message, hashlib.sha256)
        with self._lock:
            if self._good.get(key, 0.0) > time.monotonic():
                return True
            running = self._running.get(key)
            if running is None:
                if len(self._running) >= MOST_WAITING:
                    raise Busy("too many passwords are being checked", 1)
                counted = self._failures.add(address=address, user=user)
                self._running[key] = Future()
        if running is not None:
            return _awaited(running)
        return self._first(key, password, hashed, counted)

    def _first(self, key: bytes, password: bytes, hashed: str, counted: list[Key]) -> bool:
        """Check a password, and tell the others who have sent the same."""
        mine, right = self._running[key], None
        try:
            right = self._checked(password, hashed)
            if right:
                self._remember(key)
            mine.set_result(right)
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            if right is not False:
                self._failures.take_back(counted)
            self._running.pop(key)
        return right

    def _checked(self, password: bytes, hashed: str) -> bool:
        if not self._slots.acquire(timeout=LONGEST_WAIT):
            raise Busy("too many passwords are being checked", 1)
        try:
            return _beside_green_threads(bcrypt.checkpw, password, hashed.encode())
        finally:
            self._slots.release()

    def _remember(self, key: bytes) -> None:
        if not self._seconds:
            return
        with self._lock:
            self._good[key] = time.monotonic() + self._seconds
            self._good.move_to_end(key)
            while len(self._good) > self._size:
                self._good.popitem(last=False)


def _awaited(running: Future[bool]) -> bool:
    try:
        return running.result(2 * LONGEST_WAIT)  # its turn, and its check
    except TimeoutError:
        raise Busy("the check of this password takes too long", 1) from None


def _beside_green_threads(check: Callable[[bytes, bytes], bool], *given: bytes) -> bool:
    """Run a check that takes the processor; where threads are eventlet's, in a real one."""
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is None or not patcher.is_monkey_patched("thread"):
        return check(*given)  # it lets go of the interpreter meanwhile, so other threads run
    right: bool = importlib.import_module("eventlet.tpool").execute(check, *given)
    return right
