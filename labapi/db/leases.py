"""Queries about leases: hosts that are one project's until a time.

A lease *takes* hosts (``hosts.lease_id``), which are given no more cases of other projects from
then on, and is *waiting* until those that run there have ended. It is *active* until its time is
over or somebody ends it, and *ended* for good. Every move locks the lease first and then its hosts,
in the order of their names, so that of two that move it at once one does; who gives a case to a
host locks that host, too.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from labapi.case import ACTIVE
from labapi.db.models import Host, Lease, TestCase
from labapi.db.session import Record
from labapi.exceptions import Conflict, Forbidden


class LeaseState(StrEnum):
    """How far a lease is; it only ever moves down this list."""

    WAITING = "waiting"
    ACTIVE = "active"
    ENDED = "ended"


_OPEN = (LeaseState.WAITING, LeaseState.ACTIVE)
_COLUMNS = Lease.__table__.columns
_ID = Lease.id == bindparam("row")
_BY_UUID = select(*_COLUMNS).where(Lease.uuid == bindparam("uuid"))
_BY_KEY = select(*_COLUMNS).where(Lease.idempotency == bindparam("key"))
_TWIN = select(Lease.uuid).where(
    or_(Lease.uuid == bindparam("uuid"), Lease.idempotency == bindparam("key"))
)
_BY_ID = select(*_COLUMNS).where(_ID)
_STILL_OPEN = select(Lease.uuid).where(
    Lease.uuid.in_(bindparam("leases", expanding=True)), Lease.state.in_(_OPEN)
)
_LOCK = select(*_COLUMNS).where(_ID).with_for_update()
_OPEN_LEASES = (
    select(
        Lease.id,
        Lease.uuid,
        Lease.project_id,
        Lease.state,
        Lease.hosts,
        Lease.count.label("wanted"),
        Lease.placement,
        Lease.created_at,
        Lease.ends_at,
    )
    .where(Lease.state.in_(_OPEN))
    .order_by(Lease.id)
)
_BEFORE = select(func.count()).where(
    Lease.state == LeaseState.WAITING, Lease.id < bindparam("before")
)
_OPEN_COUNTS = (
    select(Lease.count)
    .where(Lease.state.in_(_OPEN), Lease.project_id == bindparam("project"))
    .with_for_update()
)
_HOSTS_NAMED = (
    select(Host.id, Host.host, Host.lease_id, Host.bad_since, Host.bad_reason)
    .where(Host.host.in_(bindparam("hosts", expanding=True)))
    .order_by(Host.host)
    .with_for_update()
)
_HOSTS_HELD = select(Host.host).where(Host.lease_id == bindparam("lease")).order_by(Host.host)
_TAKE = (
    update(Host)
    .where(Host.id.in_(bindparam("ids", expanding=True)), Host.lease_id.is_(None))
    .values(lease_id=bindparam("lease"))
)
_FREE = update(Host).where(Host.lease_id == bindparam("lease")).values(lease_id=None)
_WITH_KEYS = (
    select(Host.host, Lease.uuid, Lease.keys, Lease.ends_at)
    .join(Host, Host.lease_id == Lease.id)
    .where(Lease.state == LeaseState.ACTIVE, Lease.keys.is_not(None))
)
_SET = update(Lease).where(_ID)
_OF_OTHERS = or_(
    TestCase.project_id.is_(None), TestCase.project_id != bindparam("project", required=True)
)
_RUNNING_OF_OTHERS = (
    select(TestCase.host, TestCase.started_at, TestCase.timeout)
    .where(
        TestCase.state.in_(ACTIVE),
        TestCase.host.in_(bindparam("hosts", expanding=True)),
        _OF_OTHERS,
    )
    .order_by(TestCase.id)
    .limit(bindparam("limit"))
)


def away_from(project: Any) -> ColumnElement[bool]:
    """Return the condition that a host is leased, and that no case of this project may run there.

    :param project: a parameter or a column with its id
    """
    own = (
        exists()
        .where(
            Lease.id == Host.lease_id,
            Lease.state == LeaseState.ACTIVE,
            Lease.project_id == project,
        )
        .correlate(Host, TestCase)
    )
    return and_(Host.lease_id.is_not(None), ~own)


def create(
    connection: Connection,
    values: Mapping[str, Any],
    now: datetime.datetime,
    *,
    most_hosts: int,
) -> str:
    """Make a lease, which takes the hosts that it names, and begins if nobody else runs there.

    :param values: ``uuid, project_id, user_id, request_id, hosts`` (names or None), ``count,
        seconds, ends_at`` and others that are not null
    :param most_hosts: that a project may have in leases that have not ended
    :returns: its UUID, or that of the lease that has its ``idempotency`` already
    :raises Conflict: a host is leased or benched, or has just been taken off the list
    :raises Forbidden: the project would have too many
    """
    row = {"state": LeaseState.WAITING, "created_at": now, "idempotency": None, **values}
    try:
        made = connection.execute(insert(Lease), row)
    except IntegrityError:
        # Another request with the same key was faster, or this transaction was committed and its
        # answer lost.
        twin = {"uuid": row["uuid"], "key": row["idempotency"]}
        return str(connection.execute(_TWIN, twin).scalar_one())
    (number,) = made.inserted_primary_key or (0,)
    # It is there before they are counted, and they are locked: of two that are made at once, one
    # sees the other.
    had = sum(connection.execute(_OPEN_COUNTS, {"project": values["project_id"]}).scalars())
    if had > most_hosts:
        raise Forbidden(
            f"your project may lease {most_hosts} hosts at the same time, and would have {had}"
        )
    if values["hosts"] is not None:
        lease = connection.execute(_LOCK, {"row": number}).one()
        _take(connection, lease, values["hosts"])
        _begin(connection, lease, now)
    return str(row["uuid"])


def assign(
    connection: Connection, number: int, hosts: Sequence[str], now: datetime.datetime
) -> bool:
    """Let a lease that waits for hosts take these; False if it does not wait for hosts any more.

    :param number: the lease's ``id``
    :raises Conflict: one of them is leased or benched, or has just been taken off the list
    """
    lease = _locked(connection, number)
    if lease is None or lease.state != LeaseState.WAITING or lease.hosts is not None:
        return False
    _take(connection, lease, hosts)
    connection.execute(_SET.values(hosts=sorted(hosts)), {"row": number})
    _begin(connection, lease, now)
    return True


def begin(connection: Connection, number: int, now: datetime.datetime) -> bool:
    """Let a lease that has its hosts begin, if nobody else's case runs there."""
    lease = _locked(connection, number)
    if lease is None or lease.state != LeaseState.WAITING or lease.hosts is None:
        return False
    return _begin(connection, lease, now)


def renew(
    connection: Connection,
    number: int,
    now: datetime.datetime,
    *,
    seconds: float | None,
    until: datetime.datetime | None,
) -> None:
    """Let a lease last until a time, or so many seconds from now on, or from its start.

    :raises Conflict: it has ended
    """
    lease = _locked(connection, number)
    if lease is None or lease.state == LeaseState.ENDED:
        raise Conflict("the lease has ended; make another one")
    if seconds is not None and lease.state == LeaseState.ACTIVE:
        until = now + datetime.timedelta(seconds=seconds)
    connection.execute(_SET.values(seconds=seconds, ends_at=until), {"row": number})


def end(
    connection: Connection,
    number: int,
    now: datetime.datetime,
    by: str,
    *,
    seen: Record | None = None,
) -> list[str] | None:
    """End a lease, and let others have its hosts.

    :param by: who ends it
    :param seen: only if it is in the state, and until the time, in which it was seen
    :returns: the hosts; None if it has not ended here
    """
    lease = _locked(connection, number)
    if lease is None or lease.state == LeaseState.ENDED:
        return None
    if seen is not None and (seen.state, seen.ends_at) != (lease.state, lease.ends_at):
        return None  # it was renewed meanwhile, or has begun
    hosts = held(connection, number)
    connection.execute(_FREE, {"lease": number})
    values = {"state": LeaseState.ENDED, "ended_at": now, "ended_by": by}
    connection.execute(_SET.values(values), {"row": number})
    return hosts


def get(connection: Connection, lease: str) -> Record | None:
    """Return the lease with this UUID."""
    return connection.execute(_BY_UUID, {"uuid": lease}).one_or_none()


def with_key(connection: Connection, idempotency: str) -> Record | None:
    """Return the lease that was made with this digest of an Idempotency-Key."""
    return connection.execute(_BY_KEY, {"key": idempotency}).one_or_none()


def over(connection: Connection, leases: Iterable[str]) -> set[str]:
    """Return those of some leases, by UUID, that have ended or are not there any more."""
    asked = set(leases)
    return asked - set(connection.execute(_STILL_OPEN, {"leases": list(asked)}).scalars())


def page(
    connection: Connection,
    filters: Mapping[str, Any],
    *,
    before: int | None,
    limit: int,
) -> Sequence[Record]:
    """Return leases, newest first.

    :param filters: column → value it must have
    :param before: the ``id`` of the last one on the page before
    """
    statement = select(*_COLUMNS).order_by(Lease.id.desc()).limit(limit)
    statement = statement.where(*(_COLUMNS[name] == value for name, value in filters.items()))
    if before is not None:
        statement = statement.where(Lease.id < before)
    return connection.execute(statement).all()


def open_leases(connection: Connection) -> Sequence[Record]:
    """Return the leases that have not ended, oldest first.

    :returns: ``id, uuid, project_id, state, hosts, placement, created_at, ends_at`` and
        ``wanted``, how many hosts it asks for
    """
    return connection.execute(_OPEN_LEASES).all()


def with_keys(connection: Connection) -> Sequence[Record]:
    """Return ``host, uuid, keys, ends_at`` of hosts whose lease has begun and has ssh keys."""
    return [row for row in connection.execute(_WITH_KEYS) if row.keys]


def place(connection: Connection, number: int) -> int:
    """Return the place of a waiting lease among those that wait, counted from 1."""
    return int(connection.execute(_BEFORE, {"before": number}).scalar_one()) + 1


def held(connection: Connection, number: int) -> list[str]:
    """Return the names of the hosts that a lease holds now."""
    return list(connection.execute(_HOSTS_HELD, {"lease": number}).scalars())


def running_of_others(
    connection: Connection, hosts: Iterable[str], project: str | None, limit: int = 100
) -> Sequence[Record]:
    """Return ``host, started_at, timeout`` of cases of other projects that hosts were given."""
    values = {"hosts": list(hosts), "project": project, "limit": limit}
    return connection.execute(_RUNNING_OF_OTHERS, values).all()


def _locked(connection: Connection, number: int) -> Record | None:
    return connection.execute(_LOCK, {"row": number}).one_or_none()


def _take(connection: Connection, lease: Record, hosts: Iterable[str]) -> None:
    wanted = sorted(set(hosts))
    rows = {row.host: row for row in connection.execute(_HOSTS_NAMED, {"hosts": wanted})}
    for host in wanted:
        row = rows.get(host)
        if row is None:
            raise Conflict(f"hosts: {host!r} has just been taken off the list")
        if row.lease_id is not None:
            by = connection.execute(_BY_ID, {"row": row.lease_id}).one_or_none()
            raise Conflict(_taken(host, by, lease.project_id))
        if row.bad_since is not None:
            raise Conflict(f"hosts: {host!r} is benched: {row.bad_reason}")
    connection.execute(_TAKE, {"ids": [row.id for row in rows.values()], "lease": lease.id})


def _taken(host: str, by: Record | None, project: str | None) -> str:
    if by is None:
        return f"hosts: {host!r} is leased"
    own = f"to your own project, by lease {by.uuid}," if by.project_id == project else ""
    until = f" until {by.ends_at:%Y-%m-%dT%H:%M:%SZ}" if by.ends_at else ""
    return " ".join(f"hosts: {host!r} is leased {own}{until}".split()).rstrip(",")


def _begin(connection: Connection, lease: Record, now: datetime.datetime) -> bool:
    # Locked, so that nobody is given a place there until this is decided.
    hosts = [
        row.host for row in connection.execute(_HOSTS_HELD.with_for_update(), {"lease": lease.id})
    ]
    if not hosts or running_of_others(connection, hosts, lease.project_id, 1):
        return False
    ends_at = lease.ends_at or now + datetime.timedelta(seconds=lease.seconds)
    values = {"state": LeaseState.ACTIVE, "starts_at": now, "ends_at": ends_at}
    connection.execute(_SET.values(values), {"row": lease.id})
    return True
