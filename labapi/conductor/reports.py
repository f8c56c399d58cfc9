"""From an agent's report to a committed row."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from oslo_config import cfg
from oslo_log import log
from sqlalchemy import Connection

from labapi.case import ACTIVE, Reason, State
from labapi.conductor import events, orders
from labapi.conductor.orders import Stale
from labapi.db import attempts, outputs
from labapi.db.session import Database, Record
from labapi.rpc.messages import CaseChanged, CaseResult, CaseStarted, Message, Output
from labapi.rpc.publisher import Publisher
from labapi.rpc.tally import Tally

LOG = log.getLogger(__name__)

# Verdicts of conductors: the agent may not know of them.
GIVEN_UP = frozenset({Reason.AGENT_LOST, Reason.EXPIRED})

# Ways in which an agent loses a case, other than by falling silent.
LOST_REASONS = frozenset({Reason.AGENT_RESTARTED, Reason.AGENT_STOPPED})

Report = CaseResult | CaseStarted | Output


@dataclass
class _Work:
    """What a batch of reports comes to, one list for each statement."""

    started: list[tuple[int, datetime.datetime]] = field(default_factory=list)
    chunks: list[outputs.Chunk] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)
    finished: dict[int, dict[str, Any]] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)
    stale: set[Stale] = field(default_factory=set)
    events: list[CaseChanged] = field(default_factory=list)


class Reports:
    """Takes in what agents report, a batch in one transaction.

    A report counts only if it is of the current attempt and comes from the host that the attempt
    was given to; any other changes nothing, and the log tells of the first now and then. An agent
    that goes on with an attempt that was given up is told to end it.

    :param room: called with the names of hosts that have finished something
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        publisher: Publisher,
        room: Callable[[Iterable[str]], None],
    ) -> None:
        self._max_attempts = conf.conductor.max_attempts
        self._max_output = conf.conductor.max_output
        self._database = database
        self._publisher = publisher
        self._room = room
        self._bound = orders.Bound()
        self._ignored = Tally()

    def handle(self, messages: list[Message]) -> None:
        """Write a batch of reports down, announce what finished, fill the room that it left."""
        reports = [message for message in messages if isinstance(message, Report)]
        now = datetime.datetime.now(datetime.UTC)
        work = self._database.write(self._apply, reports, now)
        events.announce(self._publisher, work.events)
        orders.end(self._publisher, self._bound.keep(work.stale))
        self._room({report.host for report in reports if isinstance(report, CaseResult)})

    def _apply(
        self, connection: Connection, reports: list[Report], now: datetime.datetime
    ) -> _Work:
        work = _Work()
        rows = attempts.lock(connection, {report.case for report in reports})
        for report in reports:
            row = rows.get(report.case)
            if not isinstance(report, CaseResult) and not _is_current(report, row):
                work.stale.add(Stale(report.case, report.attempt, report.host))
            if row is None or (row.attempt, row.host) != (report.attempt, report.host):
                self._ignore(report)
            elif isinstance(report, Output):
                self._keep(connection, row, report.offset, report.data, work)
            elif row.state in ACTIVE and row.id not in work.finished:
                if self._may_run_again(report, row):
                    work.lost.append(row.id)
                    work.events.append(CaseChanged(case=row.uuid, state=State.QUEUED))
                else:
                    if isinstance(report, CaseResult):
                        self._keep(connection, row, report.output_offset, report.output, work)
                    _take(report, row, now, work, self._max_output)
        attempts.mark_started(connection, work.started)
        going_on = {row: size for row, size in work.sizes.items() if row not in work.finished}
        attempts.grow_output(connection, going_on)
        attempts.change(connection, list(work.finished.values()))
        outputs.add(connection, work.chunks)
        attempts.rerun(connection, work.lost, "its agent stopped while it ran; it runs again")
        return work

    def _ignore(self, report: Report) -> None:
        """Say now and then that a report counts for nothing; a host may send any number."""
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

    def _may_run_again(self, report: Report, row: Record) -> bool:
        return (
            isinstance(report, CaseResult)
            and report.reason in LOST_REASONS
            and row.state == State.RUNNING
            and row.rerun_on_loss
            and row.attempts < self._max_attempts
        )


def _is_current(report: Report, row: Record | None) -> bool:
    """Say whether the attempt that a report names is to go on."""
    return (
        row is not None
        and (row.attempt, row.host) == (report.attempt, report.host)
        and (row.state != State.FINISHED or row.reason not in GIVEN_UP)
    )


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
        work.started.append((row.id, _before(now, report.age, earliest)))
        return
    ended = _before(now, report.age, earliest)
    started = row.started_at
    if started is None and report.ran is not None:
        started = _before(ended, report.ran, earliest)
    work.finished[row.id] = {
        "row": row.id,
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
    work.events.append(CaseChanged(case=report.case, state=State.FINISHED, result=report.result))


def _before(
    moment: datetime.datetime, seconds: float, earliest: datetime.datetime
) -> datetime.datetime:
    span = (moment - earliest).total_seconds()
    return moment - datetime.timedelta(seconds=min(max(seconds, 0.0), max(span, 0.0)))
