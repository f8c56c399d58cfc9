"""What moves a case on: the start, the output and the end of its attempts.

A case moves ``queued`` → ``running`` (→ ``cancelling``) → ``finished``, and back to ``queued`` only
if it is run again. Each move is a guarded statement, or is made under the row's lock, so that of
two conductors that see the same row one moves it and the other finds it moved.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    or_,
    select,
    update,
)

from labapi.case import ACTIVE, Reason, Result, State
from labapi.db.models import OutputChunk, Service, TestCase
from labapi.db.services import AGENT
from labapi.db.session import Record

# Statements are built once: building one takes longer than running it.
_LOCK = (
    select(
        TestCase.id,
        TestCase.uuid,
        TestCase.host,
        TestCase.state,
        TestCase.reason,
        TestCase.attempt,
        TestCase.attempts,
        TestCase.rerun_on_loss,
        TestCase.dispatched_at,
        TestCase.started_at,
        TestCase.output_size,
    )
    .where(TestCase.uuid.in_(bindparam("uuids", expanding=True)))
    .with_for_update()
)
_STARTED = (
    update(TestCase)
    .where(TestCase.id == bindparam("row"), TestCase.started_at.is_(None))
    .values(started_at=bindparam("at"))
)
_GROW = (
    update(TestCase)
    .where(TestCase.id == bindparam("row"), TestCase.output_size < bindparam("size"))
    .values(output_size=bindparam("size"))
)
# Takes a row's new values by their columns' names.
_CHANGE = update(TestCase).where(TestCase.id == bindparam("row"))
_REMARK = (
    update(TestCase)
    # Not IN: SQLAlchemy expands no list in a statement for many rows.
    .where(TestCase.uuid == bindparam("case"), or_(*(TestCase.state == state for state in ACTIVE)))
    .values(detail=bindparam("remark"))
)
_ACTIVE_OF = select(TestCase.uuid).where(
    TestCase.state.in_(ACTIVE), TestCase.host == bindparam("host")
)
_CURRENT = select(TestCase.uuid, TestCase.attempt, TestCase.host).where(TestCase.state.in_(ACTIVE))
_CURRENT_OF = _CURRENT.where(TestCase.uuid.in_(bindparam("uuids", expanding=True)))
_CURRENT_ON = _CURRENT.where(TestCase.host.in_(bindparam("hosts", expanding=True)))
_DROP_OUTPUT = delete(OutputChunk).where(
    OutputChunk.testcase_id.in_(bindparam("ids", expanding=True))
)
_EXPIRED = (
    select(TestCase.uuid)
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


def lock(connection: Connection, cases: Iterable[str]) -> dict[str, Record]:
    """Return the cases with these UUIDs by UUID, locked until the transaction ends."""
    rows = connection.execute(_LOCK, {"uuids": list(cases)}).all()
    return {row.uuid: row for row in rows}


def mark_started(connection: Connection, started: Sequence[tuple[int, datetime.datetime]]) -> None:
    """Note when attempts began, ``(id, time)`` each, unless it is noted already."""
    if started:
        connection.execute(_STARTED, [{"row": row, "at": at} for row, at in started])


def grow_output(connection: Connection, sizes: Mapping[int, int]) -> None:
    """Note how much output there is, ``{id: bytes}``; it never becomes less."""
    if sizes:
        connection.execute(_GROW, [{"row": row, "size": size} for row, size in sizes.items()])


def change(connection: Connection, changes: Sequence[Mapping[str, Any]]) -> None:
    """Set columns of locked rows: ``row`` is the id, the other keys are the same in every item."""
    if changes:
        names = [name for name in changes[0] if name != "row"]
        columns: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
        connection.execute(
            _CHANGE.values(columns),
            [{"row": item["row"], **{f"new_{n}": item[n] for n in names}} for item in changes],
        )


def remark(connection: Connection, remarks: Mapping[str, str | None]) -> None:
    """Set the details of unfinished cases that hosts have, ``{UUID: detail}``."""
    if remarks:
        rows = [{"case": case, "remark": detail} for case, detail in remarks.items()]
        connection.execute(_REMARK, rows)


def expired(connection: Connection, before: datetime.datetime) -> list[str]:
    """Return UUIDs of cases that wait since before this time."""
    return list(connection.execute(_EXPIRED, {"before": before}).scalars())


def active(connection: Connection, before: datetime.datetime) -> Sequence[Record]:
    """Return the unfinished cases dispatched before this time, with their host's last heartbeat."""
    return connection.execute(_IN_HAND, {"before": before}).all()


def active_on(connection: Connection, host: str) -> list[str]:
    """Return UUIDs of the cases that a host was given and has not finished."""
    return list(connection.execute(_ACTIVE_OF, {"host": host}).scalars())


def current(connection: Connection, cases: Iterable[str]) -> set[tuple[str, str, str]]:
    """Return ``(UUID, attempt, host)`` of those of these cases that a host is to have."""
    rows = connection.execute(_CURRENT_OF, {"uuids": list(cases)})
    return {(row.uuid, row.attempt, row.host) for row in rows}


def current_on(connection: Connection, hosts: Iterable[str]) -> set[tuple[str, str, str]]:
    """Return ``(UUID, attempt, host)`` of the cases that these hosts are to have."""
    rows = connection.execute(_CURRENT_ON, {"hosts": list(hosts)})
    return {(row.uuid, row.attempt, row.host) for row in rows}


def finish(
    connection: Connection,
    cases: Iterable[str],
    now: datetime.datetime,
    *,
    states: tuple[str, ...],
    result: str,
    reason: str | None,
    detail: str,
) -> list[str]:
    """End cases that no agent reports on; those in other states than ``states`` stay as they are.

    :returns: the UUIDs of the cases that ended here
    """
    rows = [row for row in lock(connection, cases).values() if row.state in states]
    change(
        connection,
        [
            {
                "row": row.id,
                "state": State.FINISHED,
                "result": result,
                "reason": reason,
                "detail": detail,
                "finished_at": now,
            }
            for row in rows
        ],
    )
    return [row.uuid for row in rows]


def lose(
    connection: Connection,
    cases: Iterable[str],
    now: datetime.datetime,
    why: str,
    *,
    max_attempts: int,
) -> Lost:
    """Give up the attempts at some cases.

    Those that say ``rerun_on_loss``, are not to be cancelled and have attempts left wait again, as
    if nothing had happened yet; the others end as ERROR/agent_lost.

    :param why: the detail
    """
    lost = [row for row in lock(connection, cases).values() if row.state in ACTIVE]
    again = [
        row
        for row in lost
        if row.rerun_on_loss and row.state == State.RUNNING and row.attempts < max_attempts
    ]
    rerun(connection, [row.id for row in again], f"{why}; it runs again")
    waiting = {row.uuid for row in again}
    ended = finish(
        connection,
        [row.uuid for row in lost if row.uuid not in waiting],
        now,
        states=ACTIVE,
        result=Result.ERROR,
        reason=Reason.AGENT_LOST,
        detail=why,
    )
    return Lost(sorted(waiting), ended)


def rerun(connection: Connection, ids: Sequence[int], why: str) -> None:
    """Let locked cases wait again; what their attempt had written is dropped."""
    if not ids:
        return
    change(
        connection,
        [
            {
                "row": row,
                "state": State.QUEUED,
                "attempt": None,
                "dispatched_at": None,
                "resent_at": None,
                "started_at": None,
                "output_size": 0,
                "detail": why,
            }
            for row in ids
        ],
    )
    connection.execute(_DROP_OUTPUT, {"ids": ids})


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
        change(connection, [{"row": row.id, "state": State.CANCELLING}])
    return str(row.state)
