"""A test plan as reports tell of it; how they look is in ``report_xml``, ``_html`` and ``_text``.

Sections and entries come one by one, so that a report of 10,000 entries takes no memory. Every text
is :func:`labapi.plans.plain.plain`.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from labapi.case import Result
from labapi.plans.summary import Summary
from labapi.plans.tally import Tally


@dataclass(frozen=True, slots=True)
class Item:
    """An entry.

    :ivar what: ``plugin.method``
    :ivar flaky: it passed, and not at the first try
    :ivar retried_on: results after which it was to be tried again
    :ivar seconds: how long it ran, None if it did not
    :ivar log: the beginning of its output
    :ivar truncated: there is more output than this
    """

    name: str
    description: str
    what: str
    host: str | None
    state: str
    result: str | None
    reason: str | None
    detail: str
    exit_code: int | None
    tries: int
    flaky: bool
    retried_on: tuple[str, ...]
    case: str | None
    seconds: float | None
    log: str
    truncated: bool

    @property
    def verdict(self) -> str:
        """Its result in one word, or its state if it has none."""
        return "flaky" if self.flaky else self.result or self.state

    @property
    def title(self) -> str:
        """What it is, for people."""
        return self.description or self.what

    @property
    def why(self) -> str:
        """Why it did not pass, as far as that is known, in one line."""
        code = None if self.exit_code in (None, 0) else f"exit code {self.exit_code}"
        return ": ".join(filter(None, (self.reason, self.detail or code)))


@dataclass(frozen=True, slots=True)
class Section:
    """A step.

    :ivar name: ``TEST CASE/STEP``
    """

    name: str
    description: str
    tally: Tally
    entries: Iterable[Item]


@dataclass(frozen=True, slots=True)
class Report:
    """A plan.

    :ivar sections: its steps in their order; each is read before the next one comes
    :ivar note: what the reader is to know of what is left out, empty if nothing is
    """

    plan: Summary
    tally: Tally
    sections: Iterable[Section]
    note: str = ""

    @property
    def verdict(self) -> str:
        """The result in one word, or the state if there is none."""
        return self.plan.result or self.plan.state

    @property
    def seconds(self) -> float | None:
        """How long the plan took, None as long as it has not ended."""
        return elapsed(self.plan.started_at, self.plan.finished_at)

    @property
    def sums(self) -> str:
        """The counts that are not 0, in one line."""
        found = [f"{count} {kind}" for kind, count in self.tally.counts.items() if count]
        return ", ".join(found) or "no entries"


def elapsed(begin: datetime.datetime | None, end: datetime.datetime | None) -> float | None:
    """Return the seconds between two times, None if one is not known."""
    if begin is None or end is None:
        return None
    return max(0.0, (end - begin).total_seconds())


def shortened(report: Report, most: int) -> Report:
    """Return a report that holds all its entries, for use more than once.

    :param most: of a plan with more entries, only so many are there, of those that did not pass
    """
    every = report.tally.total <= most
    sections, left = [], most
    for section in report.sections:
        items = list(_some(section.entries, left, every=every))
        left -= len(items)
        if items:
            sections.append(dataclasses.replace(section, entries=items))
    note = "" if every else f"Of what did not pass, the first {most} entries at most are listed."
    return dataclasses.replace(report, sections=sections, note=note)


def _some(items: Iterable[Item], most: int, *, every: bool) -> Iterator[Item]:
    for item in items:
        if most <= 0:
            return
        if every or item.result not in (None, Result.PASS):
            most -= 1
            yield item
