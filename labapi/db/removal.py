"""A host's end: it goes off the list, and its cases end with it."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from labapi.case import ACTIVE, Reason, Result, State
from labapi.db import attempts, purge
from labapi.db.models import Host, TestCase
from labapi.db.session import Database

TOGETHER = 500  # cases that end in one transaction

_OF_HOST = TestCase.host == bindparam("host")
_WAITING = select(TestCase.uuid).where(TestCase.state == State.QUEUED, _OF_HOST).limit(TOGETHER)
_COUNT = (
    select(TestCase.state, func.count().label("cases"))
    .where(TestCase.state.in_((State.QUEUED, *ACTIVE)), _OF_HOST)
    .group_by(TestCase.state)
)
_LISTED = select(Host.id).where(Host.host == bindparam("host"))

WAITED = "the host that the case waited for is off the list of hosts"
HAD_IT = "an operator removed the host while it had the case"


class Prospect(NamedTuple):
    """What a removal would come to.

    :ivar listed: the host is on the list
    :ivar waiting: cases that wait for it
    :ivar active: cases that it has
    """

    listed: bool
    waiting: int
    active: int


class Removed(NamedTuple):
    """What a removal has come to.

    :ivar listed: the host was on the list
    :ivar waiting: UUIDs of cases that waited for it and have ended
    :ivar active: UUIDs of cases that it had and that have ended
    """

    listed: bool
    waiting: list[str]
    active: list[str]


def prospect(connection: Connection, host: str) -> Prospect:
    """Return what the removal of a host would come to."""
    cases = {row.state: row.cases for row in connection.execute(_COUNT, {"host": host})}
    listed = connection.execute(_LISTED, {"host": host}).first() is not None
    waiting = cases.pop(State.QUEUED, 0)
    return Prospect(listed, waiting, sum(cases.values()))


def remove(database: Database, host: str, now: datetime.datetime) -> Removed:
    """Take a host off the list and end its cases, also those that would run again elsewhere.

    What was done before an interruption stays done; the removal is begun again.
    """
    waiting: list[str] = []
    while ended := database.write(_end_waiting, host, now):
        waiting += ended
    active = database.write(_end_active, host, now)
    last = database.write(_take_off, host, now)
    return Removed(last.listed, waiting + last.waiting, active + last.active)


def end_unlisted(connection: Connection, host: str, now: datetime.datetime) -> list[str]:
    """End cases that wait for a host which is off the list, and return their UUIDs."""
    if connection.execute(_LISTED, {"host": host}).first() is not None:
        return []
    return _end_waiting(connection, host, now)


def _take_off(connection: Connection, host: str, now: datetime.datetime) -> Removed:
    """Take a host off the list; end what has come to it meanwhile."""
    listed = purge.delete_host(connection, host)
    return Removed(listed, _end_waiting(connection, host, now), _end_active(connection, host, now))


def _end_waiting(connection: Connection, host: str, now: datetime.datetime) -> list[str]:
    return attempts.finish(
        connection,
        connection.execute(_WAITING, {"host": host}).scalars().all(),
        now,
        states=(State.QUEUED,),
        result=Result.ERROR,
        reason=Reason.HOST_REMOVED,
        detail=WAITED,
    )


def _end_active(connection: Connection, host: str, now: datetime.datetime) -> list[str]:
    had = attempts.active_on(connection, host)
    return attempts.finish(
        connection,
        had,
        now,
        states=ACTIVE,
        result=Result.ERROR,
        reason=Reason.AGENT_LOST,
        detail=HAD_IT,
        only=set(had.values()),
    )
