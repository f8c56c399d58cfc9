"""Reads what a report tells of a test plan, a page of entries after the other."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from labapi.case import Result
from labapi.db import testcases, testplans
from labapi.db.session import Database, Record
from labapi.plans.plain import line, plain
from labapi.plans.report import Item, Report, Section, elapsed
from labapi.plans.summary import Summary
from labapi.plans.tally import Tally

BATCH = 500  # entries that are read at once

Visible = Callable[[Sequence[Record]], Sequence[Record]]


def read(
    database: Database,
    plan: Record,
    *,
    output: int,
    most: int,
    visible: Visible = lambda rows: rows,
) -> Report:
    """Return the report of a plan; its sections read the database while they are looked at.

    :param plan: of :func:`labapi.db.testplans.get`
    :param output: bytes of output in all; each entry has its share
    :param most: bytes of the output of one entry
    :param visible: leaves out entries that the reader may not see
    """
    tallies = database.read(testplans.tallies, plan.id)
    steps = defaultdict(list)
    for row in tallies:
        steps[row.test_case, row.step].append(row)
    tally = Tally.of(tallies)
    share = min(most, output // max(1, tally.total))

    def sections() -> Iterator[Section]:
        rows = _rows(database, plan.id, share, visible)
        for place, entries in itertools.groupby(rows, lambda pair: _place(pair[0])):
            case = plan.outline[place[0]]
            step = case["steps"][place[1]]
            yield Section(
                name=line(f"{case['name']}/{step['name']}"),
                description=line(step["description"] or ""),
                tally=Tally.of(steps[place]),
                entries=(_item(row, output) for row, output in entries),
            )

    return Report(_summary(plan), tally, sections())


def _rows(
    database: Database, plan: int, share: int, visible: Visible
) -> Iterator[tuple[Record, bytes]]:
    after, more = 0, True
    while more:
        rows, more = database.read(testplans.entries, plan, {}, after=after, limit=BATCH)
        seen = visible(rows)
        ran = [row.case for row in seen if row.case_output_size]
        heads = database.read(testcases.heads, ran, share) if ran and share else {}
        for row in seen:
            yield row, heads.get(row.case, b"")
        after = rows[-1].number if rows else after


def _place(row: Record) -> tuple[int, int]:
    return row.test_case, row.step


def _summary(plan: Record) -> Summary:
    summary = Summary.of(plan)
    detail = None if summary.detail is None else line(summary.detail)
    return msgspec.structs.replace(summary, name=line(summary.name), detail=detail)


def _item(row: Record, output: bytes) -> Item:
    columns: dict[str, Any] = row.columns
    ran = row.case_host if row.case is not None else columns.get("host")
    rules = row.rules or {}
    return Item(
        name=line(row.name),
        description=line(row.description or ""),
        what=line(f"{columns['plugin']}.{columns['method']}"),
        host=None if ran is None else line(ran),
        state=row.state,
        result=row.result,
        reason=None if row.reason is None else line(row.reason),
        detail=line(row.detail or ""),
        exit_code=row.exit_code,
        tries=row.tries,
        flaky=row.result == Result.PASS and row.tries > 1,
        retried_on=tuple(rules.get("retry", {}).get("on", ())),
        case=row.case,
        seconds=elapsed(row.started_at, row.finished_at),
        log=plain(output.decode("utf-8", errors="replace")),
        truncated=len(output) < (row.case_output_size or 0),
    )
