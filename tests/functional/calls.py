"""Counting the Python functions that threads call: CPU that can be counted."""

from __future__ import annotations

import gc
import sys
import threading
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, NamedTuple, Self

from tests.processes import until


class Part(NamedTuple):
    """A part of the work that is counted by itself: what is called within a function.

    :ivar within: with it everything that it calls, in the same thread
    :ivar threads: names of those in which it counts
    """

    name: str
    within: Callable[..., Any]
    threads: tuple[str, ...]


class Calls:
    """Counts in the threads that are started after it was entered."""

    def __init__(self, *parts: Part) -> None:
        self._parts = parts
        self._counted: Counter[str] = Counter()
        self._under_way: set[str] = set()  # names of the threads that are within a part

    def __enter__(self) -> Self:
        threading.setprofile(self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        threading.setprofile(None)

    def of(self, work: Callable[[], object]) -> dict[str, int]:
        """Return how many functions each part has called for a piece of work.

        :param work: when it has returned, each part that it brings about has begun
        """
        gc.disable()  # what it clears away may call functions, at any moment
        try:
            self._counted.clear()
            work()
            until(lambda: not self._under_way)
        finally:
            gc.enable()
        return {part.name: self._counted[part.name] for part in self._parts}

    def _begin(self, *_: object) -> None:
        """Begin to count in a thread that was just started."""
        thread = threading.current_thread().name
        codes = {part.within.__code__: part.name for part in self._parts if thread in part.threads}
        sys.setprofile(self._noting(thread, codes) if codes else None)

    def _noting(
        self, thread: str, codes: dict[CodeType, str]
    ) -> Callable[[FrameType, str, Any], None]:
        begun: FrameType | None = None
        part = ""

        def note(frame: FrameType, what: str, _argument: Any) -> None:
            nonlocal begun, part
            if what == "call":
                if begun is None and frame.f_code in codes:
                    begun, part = frame, codes[frame.f_code]
                    self._under_way.add(thread)
                if begun is not None:
                    self._counted[part] += 1
            elif what == "return" and frame is begun:
                begun = None
                self._under_way.discard(thread)

        return note
