"""Cases that wait, and their way to the hosts.

A conductor claims waiting cases, and sends again the commands that nobody has answered. Each move
is a guarded statement, so that of two conductors that see the same row one moves it.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import (
    Connection,
    String,
    bindparam,
    cast,
    exists,
    func,
    literal,
    select,
    update,
)

from labapi.case import ACTIVE, State
from labapi.db.hosts import LIVE
from labapi.db.models import Host, Service, TestCase
from labapi.db.session import Record

# Statements are built once: building one takes longer than running it.
_WAITING_HOSTS = select(TestCase.host).where(TestCase.state == State.QUEUED).distinct()
_LOAD = (
    select(TestCase.host, func.count().label("active"))
    .where(TestCase.state.in_(ACTIVE), TestCase.host.in_(bindparam("hosts", expanding=True)))
    .group_by(TestCase.host)
)
ACTIVE_CASES = (
    select(func.count())
    .where(TestCase.state.in_(ACTIVE), TestCase.host == Host.host)
    .scalar_subquery()
    .correlate(Host)
)
_DEMAND = (
    select(
        Host.host,
        Host.agent,
        Host.session,
        Host.slots,
        Service.last_seen_at,
        Service.stopped,
        Service.disabled,
        ACTIVE_CASES.label("active"),
    )
    .outerjoin(Service, LIVE)
    .where(
        Host.host.in_(bindparam("hosts", expanding=True)),
        exists().where(TestCase.state == State.QUEUED, TestCase.host == Host.host),
    )
)
_ATTEMPT = literal("").concat(bindparam("token")).concat(cast(TestCase.id, String(20)))
_COMMAND = (
    TestCase.id,
    TestCase.uuid,
    TestCase.host,
    TestCase.plugin,
    TestCase.method,
    TestCase.parameters,
    TestCase.timeout,
    TestCase.queue_rank,
    TestCase.request_id,
)
_WAITING = (
    select(*_COMMAND, _ATTEMPT.label("attempt"))
    .where(TestCase.state == State.QUEUED, TestCase.host == bindparam("host"))
    .order_by(TestCase.queue_rank, TestCase.id)
    .limit(bindparam("limit"))
)
_CLAIM = (
    update(TestCase)
    .where(TestCase.id.in_(bindparam("ids", expanding=True)), TestCase.state == State.QUEUED)
    .values(
        state=State.RUNNING,
        attempt=_ATTEMPT,
        attempts=TestCase.attempts + 1,
        dispatched_at=bindparam("now"),
        resent_at=None,
        detail=None,
    )
)
_CLAIMED = (
    select(*_COMMAND, TestCase.attempt)
    .where(
        TestCase.id.in_(bindparam("ids", expanding=True)),
        TestCase.attempt.startswith(bindparam("token"), autoescape=False),
    )
    .order_by(TestCase.queue_rank, TestCase.id)
)
_IS_UNBEGUN = (TestCase.state == State.RUNNING) & TestCase.started_at.is_(None)
_OF_UUIDS = TestCase.uuid.in_(bindparam("uuids", expanding=True))
_UNBEGUN = select(TestCase.uuid).where(
    _IS_UNBEGUN, TestCase.host.in_(bindparam("hosts", expanding=True))
)
_RESEND = update(TestCase).where(_OF_UUIDS, _IS_UNBEGUN).values(resent_at=bindparam("now"))
_RESENT = select(*_COMMAND, TestCase.attempt).where(
    _OF_UUIDS, _IS_UNBEGUN, TestCase.resent_at == bindparam("now")
)
_RELEASE = (
    update(TestCase)
    .where(TestCase.attempt.in_(bindparam("tokens", expanding=True)), _IS_UNBEGUN)
    .values(
        state=State.QUEUED,
        attempt=None,
        attempts=TestCase.attempts - 1,
        dispatched_at=None,
        resent_at=None,
        detail=bindparam("why"),
    )
)
_GIVEN = (
    select(*_COMMAND, TestCase.attempt, Host.agent, Host.session)
    .join(Host, Host.host == TestCase.host)
    .where(_OF_UUIDS, _IS_UNBEGUN)
    .order_by(TestCase.queue_rank, TestCase.id)
)

_REMARK = (
    update(TestCase)
    .where(
        TestCase.state == State.QUEUED,
        TestCase.host == bindparam("of"),
        TestCase.detail.is_(None),
    )
    .values(detail=bindparam("remark"))
)
_FORGET = (
    update(TestCase)
    .where(
        TestCase.state == State.QUEUED,
        TestCase.host == bindparam("of"),
        TestCase.detail.startswith(bindparam("beginning")),
    )
    .values(detail=None)
)


def waiting_hosts(connection: Connection) -> list[str]:
    """Return the names of hosts that cases wait for."""
    return list(connection.execute(_WAITING_HOSTS).scalars())


def load(connection: Connection, hosts: Iterable[str]) -> dict[str, int]:
    """Return how many cases each of these hosts has been given and not finished."""
    rows = connection.execute(_LOAD, {"hosts": list(hosts)})
    return {row.host: row.active for row in rows}


def demand(connection: Connection, hosts: Iterable[str]) -> Sequence[Record]:
    """Return those of these hosts that cases wait for, and how busy they are.

    :returns: ``host, agent, session, slots, last_seen_at, stopped, disabled, active``; the last is
        how many cases the host has been given that are not finished
    """
    return connection.execute(_DEMAND, {"hosts": list(hosts)}).all()


def claim(
    connection: Connection, free: Mapping[str, int], now: datetime.datetime
) -> Sequence[Record]:
    """Move the oldest waiting cases of some hosts to ``running``, each with a fresh attempt.

    :param free: ``{host: how many cases it can take}``
    :returns: what their commands are made of
    """
    token = f"{uuid.uuid4().hex}-"
    waiting: list[Record] = []
    for host, limit in free.items():
        values = {"host": host, "limit": limit, "token": token}
        waiting += connection.execute(_WAITING, values)
    if not waiting:
        return []
    ids = [case.id for case in waiting]
    done = connection.execute(_CLAIM, {"ids": ids, "token": token, "now": now})
    if done.rowcount == len(ids):
        return waiting
    # Another conductor has moved some of them meanwhile.
    return connection.execute(_CLAIMED, {"ids": ids, "token": token}).all()


def given(connection: Connection, cases: Iterable[str]) -> Sequence[Record]:
    """Return what the commands of these cases are made of, and ``agent``, the host's owner.

    Cases that were not given to a host, or have begun there, are left out.
    """
    return connection.execute(_GIVEN, {"uuids": list(cases)}).all()


def unbegun(connection: Connection, hosts: Iterable[str]) -> list[str]:
    """Return UUIDs of cases that these hosts were given and have not begun."""
    return list(connection.execute(_UNBEGUN, {"hosts": list(hosts)}).scalars())


def resend(
    connection: Connection, cases: Sequence[str], now: datetime.datetime
) -> Sequence[Record]:
    """Return those of these cases whose attempt nobody has begun, stamped as resent now."""
    if not cases:
        return []
    connection.execute(_RESEND, {"uuids": cases, "now": now})
    return connection.execute(_RESENT, {"uuids": cases, "now": now}).all()


def release(connection: Connection, attempts: Iterable[str], why: str) -> None:
    """Let cases wait again whose command certainly reached nobody; the attempt does not count."""
    connection.execute(_RELEASE, {"tokens": list(attempts), "why": why})


def remark(
    connection: Connection, remarks: Mapping[str, str], others: Iterable[str], beginning: str
) -> None:
    """Set the details of cases that wait, where they have none.

    :param remarks: ``{host: detail}``
    :param others: hosts whose waiting cases lose a detail with this ``beginning``
    """
    rows = [{"of": host, "remark": detail} for host, detail in remarks.items()]
    if rows:
        connection.execute(_REMARK, rows)
    stale = [{"of": host, "beginning": beginning} for host in others]
    if stale:
        connection.execute(_FORGET, stale)
