"""Counting what is refused, with few lines in the log however much of it comes."""

from __future__ import annotations

import time
from collections import Counter

LOG_INTERVAL = 60.0  # seconds between two lines about one cause


class Tally:
    """Counts refusals by their cause. For one thread.

    The causes are few and fixed: whoever sends what is refused must not be able to make new ones.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._due: dict[str, float] = {}

    def add(self, cause: str) -> int:
        """Count one; return how many there were so far if a line in the log is due, else 0."""
        self._counts[cause] += 1
        now = time.monotonic()
        if now < self._due.get(cause, 0.0):
            return 0
        self._due[cause] = now + LOG_INTERVAL
        return self._counts[cause]
