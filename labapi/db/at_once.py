"""Giving a case to its host as it is made.

It saves a conductor the transaction in which it would claim the case. One statement locks the
host's row, looks whether there is room, and inserts the case accordingly: of requests of the same
moment each sees what those before it have taken. That needs a database that reads, once it has the
lock, what was committed until then: SQLite has one writer at a time, and MariaDB's transactions are
READ COMMITTED (:mod:`labapi.db.mariadb`).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Insert, bindparam, case, exists, insert, select
from sqlalchemy.exc import IntegrityError

from labapi.case import State
from labapi.db import leases
from labapi.db.hosts import LIVE
from labapi.db.models import Host, Service, TestCase
from labapi.db.prepared import Prepared
from labapi.db.queue import ACTIVE_CASES, WAITED_FOR
from labapi.db.session import Record
from labapi.exceptions import NotFound

# What a case has that is not given.
WAITS: dict[str, Any] = {
    "state": State.QUEUED,
    "attempt": None,
    "attempts": 0,
    "dispatched_at": None,
}

_COLUMNS = TestCase.__table__.columns
_DISABLED = exists().where(LIVE, Service.disabled).correlate(Host)
_HAS_ROOM = (
    Host.bad_since.is_(None)
    & ~_DISABLED
    & ~leases.away_from(bindparam("whose"))
    & (Host.slots + bindparam("ahead") > ACTIVE_CASES)
    & ~WAITED_FOR
)
# With a limit it is no view that is merged: what it says is found out once.
_PLACE = (
    select(case((_HAS_ROOM, 1), else_=0).label("room"))
    .where(Host.id == bindparam("host_id"))
    .limit(1)
    .with_for_update()
    .subquery("place")
)
_THERE = select(TestCase.uuid, TestCase.attempt).where(
    (TestCase.uuid == bindparam("uuid")) | (TestCase.idempotency == bindparam("idempotency"))
)


class Made(NamedTuple):
    """A case that is there.

    :ivar uuid: its own, or that of the case that has its ``idempotency`` already
    :ivar given: its host was given it
    """

    uuid: str
    given: bool


def given(now: datetime.datetime, attempt: str) -> dict[str, Any]:
    """Return what a case has that is given to its host as it is made.

    :param attempt: its fencing token
    """
    return {"state": State.RUNNING, "attempt": attempt, "attempts": 1, "dispatched_at": now}


def give(connection: Connection, values: Mapping[str, Any], host_id: int, ahead: int) -> Made:
    """Add a case, given to its host if that has room and nobody waits for it, queued if not.

    :param values: its columns, all that are not null, as they are if it is given: with an
        ``attempt``
    :param host_id: of the host that it names
    :param ahead: how many cases the host is given beyond its slots
    :raises NotFound: the host has just been taken off the list
    """
    more = {"host_id": host_id, "ahead": ahead, "whose": values["project_id"]}
    tells = connection.dialect.insert_returning
    try:
        if tells:
            row = _returning(frozenset(values)).one_or_none(connection, {**values, **more})
        else:
            made = connection.execute(_insert(frozenset(values)), {**values, **more})
            row = _there(connection, values) if made.rowcount else None
    except IntegrityError:
        # Another request with the same key was faster, or this transaction was committed and its
        # answer lost.
        row = _there(connection, values)
    if row is None:
        raise NotFound("host: it has just been taken off the list")
    return Made(str(row.uuid), row.attempt is not None and row.attempt == values["attempt"])


def _there(connection: Connection, values: Mapping[str, Any]) -> Record:
    wanted = {name: values[name] for name in ("uuid", "idempotency")}
    return connection.execute(_THERE, wanted).one()


@cache
def _insert(names: frozenset[str]) -> Insert:
    """Return the statement for rows with these columns; it is built once."""
    order = sorted(names)
    row = select(*(_value(name) for name in order)).select_from(_PLACE)
    return insert(TestCase).from_select(order, row, include_defaults=False)


@cache
def _returning(names: frozenset[str]) -> Prepared:
    """Return the same for a database that says what was inserted."""
    return Prepared(_insert(names).returning(TestCase.uuid, TestCase.attempt))


def _value(name: str) -> Any:
    value: Any = bindparam(name, type_=_COLUMNS[name].type)
    if name in WAITS:
        return case((_PLACE.c.room == 1, value), else_=WAITS[name])
    return value.label(name)
