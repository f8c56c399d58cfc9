"""A manager before another that remembers what it was told.

Readers that ask for the same again and again wrap the manager, and nothing else changes for them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, Protocol, TypeVar, cast

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")

SECONDS = 30.0  # that something is remembered
MOST = 1000  # answers that are remembered


class Reads(Protocol[R_co]):
    """What reads one noun: each manager, and a caching one before it."""

    def get(self, name: Any, /) -> R_co:
        """Return one."""

    def list(self, **filters: Any) -> Iterator[R_co]:
        """Yield those that fit."""


class Caching(Generic[R]):
    """Reads through another manager, and remembers for a while what that has said.

    What is changed is changed through the other; ``forget`` then has the lab asked again. Threads
    may share it. What is returned is shared, too: do not change it.

    :param manager: ``lab.slaves``, say
    :param seconds: that something is remembered
    :param most: answers that are remembered; a list is one of them
    """

    def __init__(self, manager: Reads[R], seconds: float = SECONDS, most: int = MOST) -> None:
        self._manager = manager
        self._seconds = seconds
        self._most = most
        self._known: dict[Hashable, tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def get(self, name: Any, /) -> R:
        """Return one, as the lab or the memory has it."""
        return cast("R", self._remembered(("get", name), lambda: self._manager.get(name)))

    def list(self, **filters: Any) -> Iterator[R]:
        """Yield those that fit; the whole list is fetched at the first call."""
        key = ("list", *sorted(filters.items()))
        found = self._remembered(key, lambda: tuple(self._manager.list(**filters)))
        return iter(cast("tuple[R, ...]", found))

    def forget(self) -> None:
        """Ask the lab from now on."""
        with self._lock:
            self._known.clear()

    def _remembered(self, key: Hashable, ask: Callable[[], Any]) -> Any:
        now = time.monotonic()
        with self._lock:
            until, found = self._known.get(key, (0.0, None))
        if until > now:
            return found
        found = ask()
        with self._lock:
            self._known.pop(key, None)
            while len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            self._known[key] = (now + self._seconds, found)
        return found
