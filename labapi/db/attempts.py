"""What moves a case on: the start, the output and the end of its attempts.

A case moves ``queued`` → ``running`` (→ ``cancelling``) → ``finished``, and back to ``queued`` only
if it is run again. Each move is a guarded statement, or is made under the row's lock, so that of
two conductors that see the same row one moves it and the other finds it moved.
"""

from __future__ import annotations

import datetime
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, or_, select, update

from labapi.case import ACTIVE, GIVEN_UP, Reason, Result, State
from labapi.db import health
from labapi.db.changes import Changes
from labapi.db.models import OutputChunk, Service, TestCase
from labapi.db.prepared import Prepared
from labapi.db.services import AGENT
from labapi.db.session import Record

# Statements are built once: building one takes longer than running it.
_LOCK = Prepared(
    select(
        TestCase.id,
        TestCase.uuid,
        TestCase.host,
        TestCase.state,
        TestCase.reason,
        TestCase.attempt,
        TestCase.attempts,
        TestCase.rerun_on_loss,
        TestCase.created_at,
        TestCase.dispatched_at,
        TestCase.started_at,
        TestCase.output_size,
        TestCase.placement.is_not(None).label("placed"),
        TestCase.tried_hosts,
        TestCase.plan,
    )
    .where(TestCase.uuid.in_(bindparam("uuids", expanding=True)))
    .with_for_update()
)
_CASES = Changes(TestCase)
_REMARK = (
    update(TestCase)
    # Not IN: SQLAlchemy expands no list in a statement for many rows.
    .where(TestCase.uuid == bindparam("case"), or_(*(TestCase.state == state for state in ACTIVE)))
    .values(detail=bindparam("remark"))
)
_CURRENT = select(TestCase.uuid, TestCase.attempt, TestCase.host).where(TestCase.state.in_(ACTIVE))
# What an agent has reported as ended it may have in hand for another moment.
_RIGHTLY_HELD = select(TestCase.uuid, TestCase.attempt, TestCase.host).where(
    TestCase.uuid.in_(bindparam("uuids", expanding=True)),
    or_(
        TestCase.state.in_(ACTIVE),
        (TestCase.state == State.FINISHED)
        & or_(TestCase.reason.is_(None), TestCase.reason.not_in(GIVEN_UP)),
    ),
)
_CURRENT_ON = _CURRENT.where(TestCase.host.in_(bindparam("hosts", expanding=True)))
_DROP_OUTPUT = delete(OutputChunk).where(
    OutputChunk.testcase_id.in_(bindparam("ids", expanding=True))
)
_EXPIRED = (
    select(TestCase.uuid, TestCase.host)
    .where(TestCase.state == State.QUEUED, TestCase.created_at < bindparam("before"))
    .limit(1000)
)
_IN_HAND = (
    select(
        TestCase.uuid,
        TestCase.host,
        TestCase.attempt,
        TestCase.state,
        TestCase.timeout,
        TestCase.attempts,
        TestCase.rerun_on_loss,
        TestCase.created_at,
        TestCase.detail,
        TestCase.dispatched_at,
        TestCase.resent_at,
        TestCase.started_at,
        Service.last_seen_at,
        Service.stopped,
    )
    .outerjoin(Service, (Service.host == TestCase.host) & (Service.binary == AGENT))
    .where(TestCase.state.in_(ACTIVE), TestCase.dispatched_at < bindparam("before"))
)


class Lost(NamedTuple):
    """What became of cases whose attempts were given up: UUIDs.

    :ivar again: they wait again
    """

    again: list[str]
    ended: list[str]


class Again(NamedTuple):
    """A case that waits again after an attempt that ended by the lab's fault.

    :ivar row: as :func:`lock` returns it
    :ivar why: its detail
    :ivar reason: what its result will be for if there is no other host
    """

    row: Record
    why: str
    reason: str | None = None


def lock(connection: Connection, cases: Iterable[str]) -> dict[str, Record]:
    """Return the cases with these UUIDs by UUID, locked until the transaction ends."""
    rows = _LOCK.all(connection, {"uuids": list(cases)})
    return {row.uuid: row for row in rows}


def change(connection: Connection, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Set columns of locked rows, ``{id: {column: value}}``."""
    _CASES.make(connection, changes)


def remark(connection: Connection, remarks: Mapping[str, str | None]) -> None:
    """Set the details of unfinished cases that hosts have, ``{UUID: detail}``."""
    if remarks:
        rows = [{"case": case, "remark": detail} for case, detail in remarks.items()]
        connection.execute(_REMARK, rows)


def expired(connection: Connection, before: datetime.datetime) -> Sequence[Record]:
    """Return ``uuid, host`` of cases that wait since before this time."""
    return connection.execute(_EXPIRED, {"before": before}).all()


def active(connection: Connection, before: datetime.datetime) -> Sequence[Record]:
    """Return the unfinished cases dispatched before this time, with their host's last heartbeat."""
    return connection.execute(_IN_HAND, {"before": before}).all()


def rightly_held(connection: Connection, cases: Iterable[str]) -> set[tuple[str, str, str]]:
    """Return ``(UUID, attempt, host)`` of those of these cases that were not given up."""
    rows = connection.execute(_RIGHTLY_HELD, {"uuids": list(cases)})
    return {(row.uuid, row.attempt, row.host) for row in rows}


def current_on(connection: Connection, hosts: Iterable[str]) -> set[tuple[str, str, str]]:
    """Return ``(UUID, attempt, host)`` of the cases that these hosts are to have."""
    rows = connection.execute(_CURRENT_ON, {"hosts": list(hosts)})
    return {(row.uuid, row.attempt, row.host) for row in rows}


def active_on(connection: Connection, host: str) -> dict[str, str]:
    """Return the cases that a host is to have, ``{UUID: attempt}``."""
    return {case: attempt for case, attempt, _ in current_on(connection, [host])}


def finish(
    connection: Connection,
    cases: Iterable[str],
    now: datetime.datetime,
    *,
    states: tuple[str, ...],
    result: str,
    reason: str | None,
    detail: str,
    only: Container[str | None] | None = None,
) -> list[str]:
    """End cases that no agent reports on; those in other states than ``states`` stay as they are.

    :param only: attempts; a case that has another one by now stays as it is, too
    :returns: the UUIDs of the cases that ended here
    """
    rows = _meant(connection, cases, states, only)
    ended = {
        "state": State.FINISHED,
        "result": result,
        "reason": reason,
        "detail": detail,
        "finished_at": now,
    }
    change(connection, {row.id: ended for row in rows})
    faults = [health.Fault(row.host, row.uuid, reason) for row in rows if row.host]
    health.note(connection, faults, now)
    return [row.uuid for row in rows]


def lose(
    connection: Connection,
    cases: Mapping[str, str],
    now: datetime.datetime,
    why: str,
    *,
    max_attempts: int,
) -> Lost:
    """Give up the attempts at some cases.

    Those that say ``rerun_on_loss``, are not to be cancelled and have attempts left wait again, as
    if nothing had happened yet; the others end as ERROR/agent_lost.

    :param cases: ``{UUID: attempt}``; a case that has another one by now stays as it is: somebody
        else has given up the one before
    :param why: the detail
    """
    lost = _meant(connection, cases, ACTIVE, set(cases.values()))
    again = [
        row
        for row in lost
        if row.rerun_on_loss and row.state == State.RUNNING and row.attempts < max_attempts
    ]
    rerun(connection, [Again(row, f"{why}; it runs again", Reason.AGENT_LOST) for row in again])
    waiting = {row.uuid for row in again}
    ending = [row for row in lost if row.uuid not in waiting]
    counted = {row.host for row in ending}
    spared = [row for row in again if row.host not in counted]
    health.note(
        connection,
        [health.Fault(row.host, row.uuid, Reason.AGENT_LOST) for row in spared],
        now,
    )
    ended = finish(
        connection,
        [row.uuid for row in ending],
        now,
        states=ACTIVE,
        result=Result.ERROR,
        reason=Reason.AGENT_LOST,
        detail=why,
    )
    return Lost(sorted(waiting), ended)


def _meant(
    connection: Connection,
    cases: Iterable[str],
    states: Container[str],
    only: Container[str | None] | None,
) -> list[Record]:
    """Return the locked rows of those of these cases that are in some states, and attempts."""
    return [
        row
        for row in lock(connection, cases).values()
        if row.state in states and (only is None or row.attempt in only)
    ]


def rerun(connection: Connection, again: Sequence[Again]) -> None:
    """Let locked cases wait again; what their attempt had written is dropped.

    Those that name no host wait for another one than it was.
    """
    if not again:
        return
    change(
        connection,
        {
            row.id: {
                "state": State.QUEUED,
                "host": None if row.placed else row.host,
                "tried_hosts": [*(row.tried_hosts or ()), row.host] if row.placed else None,
                "attempt": None,
                "dispatched_at": None,
                "resent_at": None,
                "started_at": None,
                "output_size": 0,
                "reason": reason if row.placed else None,
                "detail": why,
            }
            for row, why, reason in again
        },
    )
    connection.execute(_DROP_OUTPUT, {"ids": [row.id for row, _, _ in again]})


def request_cancel(connection: Connection, case: str, now: datetime.datetime) -> str | None:
    """Cancel a case: one that waits is finished at once, one that runs is asked to end.

    :returns: the state that the case was in, None if there is no such case
    """
    row = lock(connection, [case]).get(case)
    if row is None:
        return None
    if row.state == State.QUEUED:
        finish(
            connection,
            [case],
            now,
            states=(State.QUEUED,),
            result=Result.CANCELLED,
            reason=Reason.CANCELLED,
            detail="cancelled before it was dispatched",
        )
    elif row.state == State.RUNNING:
        change(connection, {row.id: {"state": State.CANCELLING}})
    return str(row.state)
