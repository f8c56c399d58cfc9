"""Queries about notices: who is to be told of a plan's end, and how far that is.

A notice is claimed by moving ``next_at`` on, which only one of several conductors can do. One that
is killed before it has written down that it sent the notice leaves it to be sent again then.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from labapi.db.models import Notice, TestPlan
from labapi.db.session import Record

_NEXT: Any = bindparam("next")
_SEEN: Any = bindparam("seen")
_ID: Any = bindparam("notice")
_INSERT = insert(Notice)
# Projects take turns: one whose webhooks are slow keeps nobody else waiting.
_TURN = func.row_number().over(partition_by=TestPlan.project_id, order_by=Notice.next_at)
_DUE = (
    select(*Notice.__table__.columns, TestPlan.uuid)
    .join(TestPlan, TestPlan.id == Notice.plan_id)
    .where(Notice.next_at <= bindparam("now"))
    .order_by(_TURN, Notice.next_at)
    .limit(bindparam("most"))
)
# Nobody else has claimed it since it was seen.
_AS_SEEN = update(Notice).where(Notice.id == _ID, Notice.next_at == _SEEN)
_CLAIM = _AS_SEEN.values(next_at=_NEXT, tries=Notice.tries + 1)
_SENT = _AS_SEEN.values(next_at=None, sent_at=bindparam("now"), error=None)
_FAILED = _AS_SEEN.values(next_at=_NEXT, error=bindparam("why"))
_OF_PLAN = select(Notice).where(Notice.plan_id == bindparam("plan")).order_by(Notice.id)
_OF_PLAN = _OF_PLAN.with_only_columns(*Notice.__table__.columns)


def of_plan(
    plan: int, notify: Sequence[Mapping[str, Any]] | None, now: datetime.datetime
) -> list[dict[str, Any]]:
    """Return the rows for whoever is to be told of a plan's end, due at once.

    :param plan: ``testplans.id``
    :param notify: ``testplans.notify``, in which nobody is twice
    """
    return [
        {"plan_id": plan, "target": target, "tries": 0, "next_at": now, "created_at": now}
        for target in notify or ()
    ]


def add(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows of :func:`of_plan`, in the transaction that ends the plan."""
    if rows:
        connection.execute(_INSERT, [dict(row) for row in rows])


def due(connection: Connection, now: datetime.datetime, most: int) -> Sequence[Record]:
    """Return notices that are to be tried now: of each project one, then of each another one.

    Of a project, those come first that have been due longest.


    :returns: their columns, and ``uuid``, that of their plan
    """
    return connection.execute(_DUE, {"now": now, "most": most}).all()


def claim(connection: Connection, notice: Record, until: datetime.datetime) -> bool:
    """Claim a notice; false if somebody else has.

    :param until: when others may try it, unless it is settled by then
    """
    return _move(connection, _CLAIM, notice.id, notice.next_at, next=until)


def sent(
    connection: Connection, notice: int, claimed: datetime.datetime, now: datetime.datetime
) -> bool:
    """Note that a notice was sent; false if the claim was over by then.

    :param claimed: ``until`` of the claim
    """
    return _move(connection, _SENT, notice, claimed, now=now)


def failed(
    connection: Connection,
    notice: int,
    claimed: datetime.datetime,
    why: str,
    again: datetime.datetime | None,
) -> bool:
    """Note that a notice could not be sent; false if the claim was over by then.

    :param claimed: ``until`` of the claim
    :param again: when it is tried again, None if it is given up
    """
    return _move(connection, _FAILED, notice, claimed, why=why, next=again)


def list_of(connection: Connection, plan: int) -> Sequence[Record]:
    """Return the notices of a plan in the order in which it names them."""
    return connection.execute(_OF_PLAN, {"plan": plan}).all()


def _move(
    connection: Connection, statement: Any, notice: int, seen: datetime.datetime, **values: Any
) -> bool:
    done = connection.execute(statement, {"notice": notice, "seen": seen, **values})
    return done.rowcount == 1
