"""Cases that wait, and their way to the hosts.

A conductor claims waiting cases, and sends again the commands that nobody has answered. Each move
is a guarded statement, so that of two conductors that see the same row one moves it.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    String,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    select,
    update,
)

from labapi.case import ACTIVE, State
from labapi.db.groups import closed_to
from labapi.db.hosts import LIVE
from labapi.db.leases import away_from
from labapi.db.models import Host, Service, TestCase
from labapi.db.prepared import Prepared
from labapi.db.session import Record

PAGE = 50  # cases of one project and rank that are looked at together
MOST = 1000  # cases that are looked at together

# Statements are built once: building one takes longer than running it.
_WAITED_FOR_BY_NAME = (
    select(TestCase.host)
    .where(TestCase.state == State.QUEUED, TestCase.host.is_not(None))
    .distinct()
    .subquery("waited_for")
)
_WAITING_HOSTS = select(_WAITED_FOR_BY_NAME.c.host, Host.id.is_not(None).label("listed")).outerjoin(
    Host, Host.host == _WAITED_FOR_BY_NAME.c.host
)
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
# A case for which no host is chosen yet may want this one.
WAITED_FOR = exists().where(TestCase.state == State.QUEUED, TestCase.host == Host.host).correlate(
    Host
) | exists().where(TestCase.state == State.QUEUED, TestCase.host.is_(None))
_DEMAND = Prepared(
    select(
        Host.host,
        Host.slots,
        Host.trusted_keys,
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
    TestCase.created_at,
)
_WAITS = (
    *_COMMAND,
    TestCase.project_id,
    TestCase.placement,
    TestCase.tried_hosts,
    TestCase.batch,
    TestCase.reason,
    TestCase.detail,
)
_NTH = func.row_number().over(
    partition_by=(TestCase.host, TestCase.project_id, TestCase.queue_rank), order_by=TestCase.id
)


def _first_of(*which: Any) -> Select[*tuple[Any, ...]]:
    """Return the statement for waiting cases, so many of each project and rank."""
    numbered = (
        select(TestCase.id, _NTH.label("nth"))
        .where(TestCase.state == State.QUEUED, *which)
        .subquery("numbered")
    )
    return (
        select(*_WAITS)
        .join(numbered, numbered.c.id == TestCase.id)
        .where(numbered.c.nth > bindparam("after"), numbered.c.nth <= bindparam("last"))
        .order_by(numbered.c.nth, TestCase.id)
        .limit(bindparam("limit"))
    )


# What may not run on its host now would only take the turns of what may.
_MAY_RUN = (
    exists()
    .where(
        Host.host == TestCase.host,
        Host.bad_since.is_(None),
        ~away_from(TestCase.project_id),
        ~closed_to(TestCase.project_id),
    )
    .correlate(TestCase)
)
_WAITING = _first_of(TestCase.host.in_(bindparam("hosts", expanding=True)), _MAY_RUN)
_UNPLACED = _first_of(TestCase.host.is_(None))
# Numbering takes longer, and is needed only where some of them are left out.
_FEW_UNPLACED = (
    select(*_WAITS)
    .where(TestCase.state == State.QUEUED, TestCase.host.is_(None))
    .order_by(TestCase.queue_rank, TestCase.id)
    .limit(bindparam("limit"))
)
_USAGE = (
    select(TestCase.project_id, func.count().label("active"))
    .where(TestCase.state.in_(ACTIVE))
    .group_by(TestCase.project_id)
)
_HOSTS_OF = select(TestCase.uuid, TestCase.host).where(
    TestCase.uuid.in_(bindparam("uuids", expanding=True)), TestCase.host.is_not(None)
)
_HOSTLESS = select(TestCase.uuid).where(
    TestCase.uuid.in_(bindparam("uuids", expanding=True)),
    TestCase.host.is_(None),
    TestCase.state == State.FINISHED,
)
_BATCH_HOSTS = (
    select(TestCase.batch, TestCase.host, func.count().label("cases"))
    .where(TestCase.batch.in_(bindparam("batches", expanding=True)), TestCase.host.is_not(None))
    .group_by(TestCase.batch, TestCase.host)
)
_ATTEMPT = literal("").concat(bindparam("token")).concat(cast(TestCase.id, String(20)))
_CLAIM = update(TestCase).where(
    TestCase.id.in_(bindparam("ids", expanding=True)), TestCase.state == State.QUEUED
)
_CLAIMING: dict[str, Any] = {
    "state": State.RUNNING,
    "attempt": _ATTEMPT,
    "attempts": TestCase.attempts + 1,
    "dispatched_at": bindparam("now"),
    "resent_at": None,
    "reason": None,
    "detail": None,
}
_CLAIM_NAMED = _CLAIM.values(_CLAIMING)
_CLAIM_UNPLACED = _CLAIM.where(TestCase.host.is_(None)).values(
    {**_CLAIMING, "host": bindparam("chosen")}
)
_CLAIMED = select(TestCase.id).where(
    TestCase.id.in_(bindparam("ids", expanding=True)),
    TestCase.attempt.startswith(bindparam("token"), autoescape=False),
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
        # What was placed may go to another host now.
        host=case((TestCase.placement.is_(None), TestCase.host), else_=None),
        attempt=None,
        attempts=TestCase.attempts - 1,
        dispatched_at=None,
        resent_at=None,
        detail=bindparam("why"),
    )
)
_GIVEN = Prepared(
    select(*_COMMAND, TestCase.attempt, Host.agent, Host.session)
    .join(Host, Host.host == TestCase.host)
    .where(_OF_UUIDS, _IS_UNBEGUN)
    .order_by(TestCase.queue_rank, TestCase.id)
)


def waiting_hosts(connection: Connection) -> Sequence[Record]:
    """Return the hosts that cases wait for: ``host``, and whether it is ``listed``."""
    return connection.execute(_WAITING_HOSTS).all()


def load(connection: Connection, hosts: Iterable[str]) -> dict[str, int]:
    """Return how many cases each of these hosts has been given and not finished."""
    rows = connection.execute(_LOAD, {"hosts": list(hosts)})
    return {row.host: row.active for row in rows}


def demand(connection: Connection, hosts: Iterable[str]) -> Sequence[Record]:
    """Return those of these hosts that cases wait for, and how busy they are.

    :returns: ``host, slots, trusted_keys, last_seen_at, stopped, disabled, active``; the last is
        how many cases the host has been given that are not finished
    """
    return _DEMAND.all(connection, {"hosts": list(hosts)})


def waiting(connection: Connection, hosts: Iterable[str], limit: int) -> Sequence[Record]:
    """Return cases that wait for these hosts, ``limit`` of each host, project and rank.

    Those are left out that a lease, a group or its bench keeps from their host.

    :returns: what commands are made of, and what :mod:`labapi.scheduler.fair` looks at
    """
    found = {"hosts": list(hosts), "after": 0, "last": limit, "limit": MOST}
    return connection.execute(_WAITING, found).all()


def unplaced(connection: Connection, page: int) -> Sequence[Record]:
    """Return cases that wait and name no host, ``PAGE`` of each project and rank.

    :param page: 0 for the first ones, 1 for the next ones
    :returns: as :func:`waiting`; ``placement``, ``tried_hosts`` and ``batch`` are JSON values
    """
    if page == 0:
        few = connection.execute(_FEW_UNPLACED, {"limit": PAGE + 1}).all()
        if len(few) <= PAGE:
            return few
    span = {"after": page * PAGE, "last": (page + 1) * PAGE, "limit": MOST}
    return connection.execute(_UNPLACED, span).all()


def usage(connection: Connection) -> dict[str | None, int]:
    """Return how many cases of each project hosts have been given and not finished."""
    return {row.project_id: row.active for row in connection.execute(_USAGE)}


def hosts_of(connection: Connection, cases: Iterable[str]) -> dict[str, str]:
    """Return ``{UUID: host}`` of those of these cases that have one."""
    rows = connection.execute(_HOSTS_OF, {"uuids": list(cases)})
    return {row.uuid: row.host for row in rows}


def hostless(connection: Connection, cases: Iterable[str]) -> set[str]:
    """Return those of these cases that have ended without a host."""
    return set(connection.execute(_HOSTLESS, {"uuids": list(cases)}).scalars())


def batch_hosts(connection: Connection, batches: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return how many cases of these batches hosts were given, ``{batch: {host: cases}}``."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row in connection.execute(_BATCH_HOSTS, {"batches": list(batches)}):
        found[row.batch][row.host] = row.cases
    return found


def claim(
    connection: Connection,
    named: Sequence[int],
    placed: Mapping[str, Sequence[int]],
    token: str,
    now: datetime.datetime,
) -> set[int]:
    """Move waiting cases to ``running``, each with a fresh attempt: the token and its own id.

    :param named: ids of cases that name their host
    :param placed: ids of others by the host that was chosen for them
    :returns: the ids of those that were moved; another conductor was faster with the others
    """
    moved = 0
    values = {"token": token, "now": now}
    if named:
        moved += connection.execute(_CLAIM_NAMED, {"ids": list(named), **values}).rowcount
    for host, ids in placed.items():
        chosen = {"ids": list(ids), "chosen": host, **values}
        moved += connection.execute(_CLAIM_UNPLACED, chosen).rowcount
    wanted = {*named, *(case for ids in placed.values() for case in ids)}
    if moved == len(wanted):
        return wanted
    return set(connection.execute(_CLAIMED, {"ids": list(wanted), "token": token}).scalars())


def given(connection: Connection, cases: Iterable[str]) -> Sequence[Record]:
    """Return what the commands of these cases are made of, and ``agent``, the host's owner.

    Cases that were not given to a host, or have begun there, are left out.
    """
    return _GIVEN.all(connection, {"uuids": list(cases)})


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
    tokens = list(attempts)
    if tokens:
        connection.execute(_RELEASE, {"tokens": tokens, "why": why})
