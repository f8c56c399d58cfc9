"""A report that fits a terminal of 80 columns, and the log of all entries."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from labapi.case import Result
from labapi.plans.plain import fit, width
from labapi.plans.report import Item, Report

CONTENT_TYPE = "text/plain"
COLUMNS = 80
LOG_LINES = 10  # of the output of an entry that did not pass

_VERDICT, _NAME, _HOST, _SECONDS = 10, 8, 16, 10
_TITLE = COLUMNS - _VERDICT - _NAME - _HOST - _SECONDS - 6


def text(report: Report) -> Iterator[str]:
    """Write a report, line by line."""
    plan = report.plan
    verdict = report.verdict
    yield f"{fit(plan.name, COLUMNS - len(verdict) - 1)} {verdict}\n"
    yield fit(f"plan {plan.id}, {plan.state}, {_time(report.seconds)}", COLUMNS).rstrip() + "\n"
    for line in textwrap.wrap(report.sums, COLUMNS):
        yield f"{line}\n"
    if report.note:
        yield f"{report.note}\n"
    for section in report.sections:
        result = section.tally.result or section.tally.state
        title = ": ".join(filter(None, (section.name, section.description)))
        yield f"\n{fit(title, COLUMNS - len(result) - 1)} {result}\n"
        for item in section.entries:
            yield from _lines(item)


def log(report: Report) -> Iterator[str]:
    """Write what all entries wrote, one after the other."""
    for section in report.sections:
        for item in section.entries:
            where = f" on {item.host}" if item.host else ""
            why = f" ({item.why})" if item.why else ""
            yield f"== {section.name}/{item.name}: {item.title}{where}: {item.verdict}{why}\n"
            yield item.log if item.log.endswith("\n") or not item.log else f"{item.log}\n"
            if item.truncated:
                yield f"[there is more: the output of case {item.case}]\n"


def _lines(item: Item) -> Iterator[str]:
    row = "  ".join(
        (
            fit(item.verdict, _VERDICT - 2),
            fit(item.name, _NAME),
            fit(item.title, _TITLE),
            fit(item.host or "", _HOST),
        )
    )
    yield f"  {row}{_time(item.seconds):>{_SECONDS - 2}}".rstrip() + "\n"
    if item.result == Result.PASS:
        return
    indent = " " * (_VERDICT + 2)
    for line in textwrap.wrap(item.why, (COLUMNS - len(indent)) // _stretch(item.why)):
        yield f"{indent}{line}\n"
    for line in item.log.expandtabs().splitlines()[:LOG_LINES]:
        yield f"{indent}| {fit(line, COLUMNS - len(indent) - 2).rstrip()}\n"


def _stretch(line: str) -> int:
    """Return 2 for a text with wide characters, which ``textwrap`` takes for narrow ones."""
    return 2 if width(line) > len(line) else 1


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"
