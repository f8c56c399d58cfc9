"""From an agent's report to a committed row."""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oslo_config import cfg
from oslo_log import log
from sqlalchemy import Connection

from labapi.case import ACTIVE, GIVEN_UP, Reason, Result, State
from labapi.conductor import events, orders
from labapi.conductor.meters import Began, Meters
from labapi.conductor.orders import Stale
from labapi.conductor.remarks import REFUSED
from labapi.db import attempts, health, outputs, queue
from labapi.db.session import Database, Record
from labapi.rpc.messages import (
    CaseChanged,
    CaseRefused,
    CaseResult,
    CaseStarted,
    Ending,
    Message,
    Output,
    fits_news,
)
from labapi.rpc.publisher import Publisher
from labapi.rpc.tally import Tally

LOG = log.getLogger(__name__)

# Ways in which a host says that it does not run a case.
REFUSALS = frozenset({Reason.REJECTED, Reason.CANNOT_START})

# Ways in which an agent loses a case, other than by falling silent.
LOST_REASONS = frozenset({Reason.AGENT_RESTARTED, Reason.AGENT_STOPPED})

Report = CaseResult | CaseStarted | CaseRefused | Output


@dataclass
class _Work:
    """What a batch of reports comes to.

    :ivar started: when attempts began of which that was not known, by the row's id
    :ivar sizes: how much output there is, in bytes, by the row's id
    :ivar finished: the columns of what ended, by the row's id
    """

    started: dict[int, datetime.datetime] = field(default_factory=dict)
    chunks: list[outputs.Chunk] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)
    finished: dict[int, dict[str, Any]] = field(default_factory=dict)
    again: dict[int, attempts.Again] = field(default_factory=dict)
    faults: list[health.Fault] = field(default_factory=list)
    stale: set[Stale] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    freed: Counter[str] = field(default_factory=Counter)
    events: list[CaseChanged] = field(default_factory=list)
    began: dict[int, Began] = field(default_factory=dict)
    of_plans: list[tuple[str, str]] = field(default_factory=list)

    def is_over(self, row: int) -> bool:
        """Say whether this batch has the end of a case's attempt."""
        return row in self.finished or row in self.again

    def changes(self) -> dict[int, dict[str, Any]]:
        """Return what becomes of rows, ``{id: {column: value}}``."""
        changes: defaultdict[int, dict[str, Any]] = defaultdict(dict)
        for row, at in self.started.items():
            changes[row]["started_at"] = at
        for row, size in self.sizes.items():
            changes[row]["output_size"] = size
        for row, columns in self.finished.items():
            changes[row] |= columns
        return changes


class Reports:
    """Takes in what agents report, a batch in one transaction.

    A report counts only if it is of the current attempt and comes from the host that the attempt
    was given to; any other changes nothing, and the log tells of the first now and then. An agent
    that goes on with an attempt that was given up is told to end it.

    :param freed: called with how many cases have ended on hosts, and whether one of them goes to
        another host
    :param ended: called with the plan and the UUID of each case that has ended and is part of one
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        publisher: Publisher,
        freed: Callable[[Mapping[str, int], bool], None],
        meters: Meters | None = None,
        ended: Callable[[Sequence[tuple[str, str]]], None] = lambda _: None,
    ) -> None:
        self._meters = meters or Meters()
        self._ended = ended
        self._max_attempts = conf.conductor.max_attempts
        self._max_output = conf.conductor.max_output
        self._database = database
        self._publisher = publisher
        self._freed = freed
        self._bound = orders.Bound()
        self._ignored = Tally()

    def handle(self, messages: list[Message]) -> None:
        """Write a batch of reports down, announce what finished, fill the room that it left."""
        reports = [message for message in messages if isinstance(message, Report)]
        now = datetime.datetime.now(datetime.UTC)
        work = self._database.write(self._apply, reports, now)
        self._count(work)
        events.announce(self._publisher, work.events)
        self._ended(work.of_plans)
        orders.end(self._publisher, self._bound.keep(work.stale))
        self._freed(work.freed, any(again.row.placed for again in work.again.values()))

    def _apply(
        self, connection: Connection, reports: list[Report], now: datetime.datetime
    ) -> _Work:
        work = _Work()
        rows = attempts.lock(connection, {report.case for report in reports})
        for report in reports:
            row = rows.get(report.case)
            if isinstance(report, CaseResult):
                work.freed[report.host] += 0  # it may have room, whatever the report counts for
            if isinstance(report, CaseStarted | Output) and not _is_current(report, row):
                work.stale.add(Stale(report.case, report.attempt, report.host))
            if row is None or (row.attempt, row.host) != (report.attempt, report.host):
                self._ignore(report)
            elif isinstance(report, CaseRefused):
                _take_back(report, row, now, work)
            elif isinstance(report, Output):
                self._keep(connection, row, report.offset, report.data, work)
            elif row.state in ACTIVE and not work.is_over(row.id):
                if again := self._again(report, row):
                    work.again[row.id] = again
                    work.freed[row.host] += 1
                    work.faults.append(health.Fault(row.host, row.uuid, again.reason))
                    work.events.append(CaseChanged(case=row.uuid, state=State.QUEUED))
                else:
                    if isinstance(report, CaseResult):
                        self._keep(connection, row, report.output_offset, report.output, work)
                    _take(report, row, now, work, self._max_output)
        attempts.change(connection, work.changes())
        outputs.add(connection, work.chunks)
        health.note(connection, work.faults, now)
        queue.release(connection, work.refused, REFUSED)
        attempts.rerun(connection, list(work.again.values()))
        return work

    def _count(self, work: _Work) -> None:
        """Count what is written down now; a transaction may have run more than once."""
        self._meters.began(work.began.values())
        for end in work.finished.values():
            self._meters.ended(end["result"], end["reason"])

    def _ignore(self, report: Report) -> None:
        """Say now and then that a report counts for nothing; a host may send any number."""
        self._meters.refused()
        if so_far := self._ignored.add("not of a current attempt"):
            LOG.warning(
                "a report counts for nothing: case %s attempt %s from host %s (%d so far)",
                report.case,
                report.attempt,
                report.host,
                so_far,
            )

    def _keep(
        self, connection: Connection, row: Record, offset: int, data: bytes, work: _Work
    ) -> None:
        """Note a piece of output, as far as it lies within ``max_output`` and is new."""
        data = data[: max(0, self._max_output - offset)]
        if not data:
            return
        piece = (row.id, offset, data)
        size = work.sizes.get(row.id, row.output_size)
        # What begins where the output ends is new. Only what comes late, or twice, needs a look.
        late = offset < size
        work.chunks += outputs.missing(connection, piece, work.chunks) if late else [piece]
        work.sizes[row.id] = max(offset + len(data), size)

    def _again(self, report: Report, row: Record) -> attempts.Again | None:
        """Say how a case waits again whose attempt has ended by the lab's fault, None if it ends.

        A case whose method may have run does so only if it says ``rerun_on_loss``. One that names
        no host goes to another one if this one could not take it, or could not start it.
        """
        if (
            not isinstance(report, CaseResult)
            or row.state != State.RUNNING
            or row.attempts >= self._max_attempts
        ):
            return None
        if report.reason in LOST_REASONS and row.rerun_on_loss:
            why = "its agent stopped while it ran; it runs again"
            return attempts.Again(row, why, report.reason)
        if row.placed and report.result == Result.ERROR and _has_not_run(report):
            why = f"{report.reason} on {row.host}: {report.detail or 'nothing more is known'}"
            return attempts.Again(row, why, report.reason)
        return None


def _has_not_run(report: CaseResult) -> bool:
    """Say whether the method has certainly changed nothing where it was to run."""
    if report.reason == Reason.NO_SPACE:
        return report.ran is None  # else it may have filled the disk itself
    return report.reason in REFUSALS


def _is_current(report: Report, row: Record | None) -> bool:
    """Say whether the attempt that a report names is to go on."""
    return (
        row is not None
        and (row.attempt, row.host) == (report.attempt, report.host)
        and (row.state != State.FINISHED or row.reason not in GIVEN_UP)
    )


def _take_back(report: CaseRefused, row: Record, now: datetime.datetime, work: _Work) -> None:
    """Note that an attempt which its agent refused runs nowhere."""
    known = report.attempt in work.refused
    if row.state == State.RUNNING and row.started_at is None and not known:
        work.refused[report.attempt] = report.case
        work.events.append(CaseChanged(case=report.case, state=State.QUEUED))


def _take(
    report: CaseResult | CaseStarted,
    row: Record,
    now: datetime.datetime,
    work: _Work,
    max_output: int,
) -> None:
    """Note what a report of the current attempt changes."""
    # Agents send durations, not times: lab machines need no synchronised clocks. A duration that
    # cannot be (before the dispatch, in the future) is cut to what can.
    earliest = row.dispatched_at or now
    if isinstance(report, CaseStarted):
        started = _before(now, report.age, earliest)
        if row.started_at is None:
            work.started.setdefault(row.id, started)
        _note_beginning(row, started, work)
        return
    ended = _before(now, report.age, earliest)
    started = row.started_at
    if started is None and report.ran is not None:
        started = _before(ended, report.ran, earliest)
        _note_beginning(row, started, work)
    work.faults.append(health.Fault(row.host, row.uuid, report.reason))
    work.finished[row.id] = {
        "state": State.FINISHED,
        "result": report.result,
        "reason": report.reason,
        "detail": report.detail,
        "exit_code": report.exit_code,
        "data": report.data,
        "started_at": started,
        "finished_at": ended,
        # An agent that was restarted does not know how much there was.
        "output_size": max(report.output_size, work.sizes.get(row.id, row.output_size)),
        # What is not kept is not on its way for those who read.
        "output_sent": min(report.output_offset + len(report.output), max_output),
    }
    work.freed[row.host] += 1
    if row.plan is not None:
        work.of_plans.append((row.plan, row.uuid))
    ending = _ending(report, row, work.finished[row.id])
    work.events.append(
        CaseChanged(case=report.case, state=State.FINISHED, result=report.result, ending=ending)
    )


def _ending(report: CaseResult, row: Record, values: Mapping[str, Any]) -> Ending | None:
    """Return what whoever waits for a case wants to know, None if that is too much for an event."""
    whole = report.output_offset == 0 and values["output_size"] == len(report.output)
    if not whole or values["output_sent"] != values["output_size"]:
        return None
    if not fits_news(report.data, report.output):
        return None
    return Ending(
        host=row.host,
        result=report.result,
        reason=report.reason,
        detail=report.detail,
        exit_code=report.exit_code,
        data=report.data,
        started_at=values["started_at"],
        finished_at=values["finished_at"],
        output=report.output,
    )


def _note_beginning(row: Record, started: datetime.datetime, work: _Work) -> None:
    """Note when an attempt began, unless that was known."""
    if row.started_at is None and row.dispatched_at is not None and row.id not in work.began:
        waited = max(0.0, (row.dispatched_at - row.created_at).total_seconds())
        work.began[row.id] = Began(waited, (started - row.dispatched_at).total_seconds())


def _before(
    moment: datetime.datetime, seconds: float, earliest: datetime.datetime
) -> datetime.datetime:
    span = (moment - earliest).total_seconds()
    return moment - datetime.timedelta(seconds=min(max(seconds, 0.0), max(span, 0.0)))
