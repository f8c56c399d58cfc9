"""What the entries of a step, a test case or a plan come to together."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from labapi.case import Result, State
from labapi.plans.entry import SKIPPED
from labapi.plans.results import worst

# Names of counts, in the order in which they are shown.
KINDS = (*Result, SKIPPED, State.QUEUED, State.RUNNING, "flaky")


class Tally(NamedTuple):
    """Entries, counted.

    :ivar counts: name of :data:`KINDS` → how many; *flaky* ones are among those that passed
    :ivar started_at: when the first of them began, None if none has
    :ivar finished_at: when the last of them ended, None if none has
    """

    counts: Mapping[str, int]
    started_at: datetime.datetime | None = None
    finished_at: datetime.datetime | None = None

    @classmethod
    def of(cls, rows: Iterable[Any]) -> Tally:
        """Return what entries come to that were counted in groups.

        :param rows: each with ``state, result, flaky, count, started_at, finished_at``
        """
        counts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        began, ended = [], []
        for row in rows:
            counts[row.result or row.state] += row.count
            counts["flaky"] += row.count if row.flaky else 0
            began.append(row.started_at)
            ended.append(row.finished_at)
        first, last = filter(None, began), filter(None, ended)
        return cls(dict(counts), min(first, default=None), max(last, default=None))

    @property
    def total(self) -> int:
        """How many entries there are."""
        return sum(self.counts.values()) - self.counts["flaky"]

    @property
    def state(self) -> State:
        """Whether they wait, run, or have ended."""
        queued = self.counts[State.QUEUED]
        if self.counts[State.RUNNING] or 0 < queued < self.total:
            return State.RUNNING
        return State.QUEUED if queued else State.FINISHED

    @property
    def result(self) -> Result | None:
        """The worst result of those that ran; None as long as not all have ended."""
        if self.state != State.FINISHED:
            return None
        return worst(result for result in Result if self.counts[result])

    @property
    def seconds(self) -> float:
        """How long it took from the first beginning to the last end."""
        if self.started_at is None or self.finished_at is None:
            return 0.0
        return max(0.0, (self.finished_at - self.started_at).total_seconds())
