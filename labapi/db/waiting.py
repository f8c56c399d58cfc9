"""Who waits, for a case that wants to know its place among them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, select

from labapi.case import State
from labapi.db.models import TestCase
from labapi.db.session import Record

# Cases that are looked at; the place of one that waits behind more of them is not told.
MAX_WAITING = 10_000

_COLUMNS = (TestCase.id, TestCase.queue_rank, TestCase.project_id, TestCase.created_at)
_QUEUE = (
    select(*_COLUMNS)
    .where(TestCase.state == State.QUEUED)
    .order_by(TestCase.queue_rank, TestCase.id)
    .limit(MAX_WAITING)
)
_UNPLACED = _QUEUE.where(TestCase.host.is_(None))
_FOR_HOST = _QUEUE.where(TestCase.host == bindparam("host"))


def queue(connection: Connection, host: str | None) -> Sequence[Record]:
    """Return the cases that wait for a host, or those that name none.

    :returns: ``id, queue_rank, project_id, created_at``, the most urgent ``MAX_WAITING`` of them
    """
    if host is None:
        return connection.execute(_UNPLACED).all()
    return connection.execute(_FOR_HOST, {"host": host}).all()
