"""Queries about test cases.

A case moves ``queued`` → ``running`` (→ ``cancelling``) → ``finished``, and only forwards. Each
move is a guarded statement, or is made under the row's lock, so that of two conductors that see
the same row one moves it and the other finds it moved.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    String,
    bindparam,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from labapi.case import ACTIVE, Result, State
from labapi.db.hosts import AGENT, LIVE, PLUGINS
from labapi.db.models import Host, OutputChunk, Service, TestCase
from labapi.db.prepared import Prepared
from labapi.db.session import Record

# Statements are built once: building one takes longer than running it.
_COLUMNS = select(*TestCase.__table__.columns)
_BY_UUID = Prepared(_COLUMNS.where(TestCase.uuid == bindparam("uuid")))
_HEAD = (
    select(OutputChunk.data)
    .where(OutputChunk.testcase_id == TestCase.id, OutputChunk.offset == 0)
    .scalar_subquery()
)
_ENDING = Prepared(
    select(
        TestCase.state,
        TestCase.result,
        TestCase.reason,
        TestCase.detail,
        TestCase.exit_code,
        TestCase.data,
        TestCase.output_size,
        TestCase.started_at,
        TestCase.finished_at,
        _HEAD.label("head"),
    ).where(TestCase.uuid == bindparam("uuid"), TestCase.state == State.FINISHED)
)
_INSERT = insert(TestCase)
_OF_KEY = TestCase.idempotency == bindparam("key")
_BY_KEY = _COLUMNS.where(_OF_KEY)
_TWIN = select(TestCase.uuid).where(or_(TestCase.uuid == bindparam("uuid"), _OF_KEY))
_WAITING_HOSTS = select(TestCase.host).where(TestCase.state == State.QUEUED).distinct()
_LOAD = (
    select(TestCase.host, func.count().label("active"))
    .where(TestCase.state.in_(ACTIVE), TestCase.host.in_(bindparam("hosts", expanding=True)))
    .group_by(TestCase.host)
)
_ACTIVE_CASES = (
    select(func.count())
    .where(TestCase.state.in_(ACTIVE), TestCase.host == Host.host)
    .scalar_subquery()
    .correlate(Host)
)
_DEMAND = (
    select(
        Host.host,
        Host.agent,
        Host.slots,
        Service.last_seen_at,
        Service.stopped,
        Service.disabled,
        _ACTIVE_CASES.label("active"),
    )
    .outerjoin(Service, LIVE)
    .where(
        Host.host.in_(bindparam("hosts", expanding=True)),
        exists().where(TestCase.state == State.QUEUED, TestCase.host == Host.host),
    )
)
# The host that a case names, and whether it has room for it.
_HOST = select(
    Host.id,
    Host.uuid,
    Host.host,
    PLUGINS,
    Host.meta,
    Host.slots,
    Service.last_seen_at,
    Service.stopped,
    Service.disabled,
    _ACTIVE_CASES.label("active"),
    exists().where(TestCase.state == State.QUEUED, TestCase.host == Host.host).label("waited_for"),
).outerjoin(Service, LIVE)
_HOST_NAMED = Prepared(_HOST.where(Host.host == bindparam("name")))
_HOSTS_AT = _HOST.where(Host.address == bindparam("address"))
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
        detail=None,
    )
)
_CLAIMED = _COLUMNS.where(
    TestCase.id.in_(bindparam("ids", expanding=True)),
    TestCase.attempt.startswith(bindparam("token"), autoescape=False),
).order_by(TestCase.queue_rank, TestCase.id)
_IS_UNBEGUN = (TestCase.state == State.RUNNING) & TestCase.started_at.is_(None)
_OF_UUIDS = TestCase.uuid.in_(bindparam("uuids", expanding=True))
_UNBEGUN = select(TestCase.uuid).where(
    _IS_UNBEGUN, TestCase.host.in_(bindparam("hosts", expanding=True))
)
_REOFFER = update(TestCase).where(_OF_UUIDS, _IS_UNBEGUN).values(dispatched_at=bindparam("now"))
_REOFFERED = _COLUMNS.where(_OF_UUIDS, _IS_UNBEGUN, TestCase.dispatched_at == bindparam("now"))
_RELEASE = (
    update(TestCase)
    .where(
        TestCase.attempt.in_(bindparam("tokens", expanding=True)), TestCase.state == State.RUNNING
    )
    .values(state=State.QUEUED, attempt=None, dispatched_at=None, detail=bindparam("why"))
)
_GIVEN = (
    select(*_COMMAND, TestCase.attempt, Host.agent)
    .join(Host, Host.host == TestCase.host)
    .where(_OF_UUIDS, _IS_UNBEGUN)
    .order_by(TestCase.queue_rank, TestCase.id)
)
_LOCK = (
    select(
        TestCase.id,
        TestCase.uuid,
        TestCase.host,
        TestCase.state,
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
_ACTIVE_OF = select(TestCase.uuid).where(
    TestCase.state.in_(ACTIVE), TestCase.host == bindparam("host")
)
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
        TestCase.dispatched_at,
        TestCase.started_at,
        Service.last_seen_at,
        Service.stopped,
    )
    .outerjoin(Service, (Service.host == TestCase.host) & (Service.binary == AGENT))
    .where(TestCase.state.in_(ACTIVE), TestCase.dispatched_at < bindparam("before"))
)


def create(connection: Connection, values: Mapping[str, Any]) -> str:
    """Add a case; ``values`` has every column that is not null and has no default.

    :returns: its UUID, or that of the case that has this ``idempotency`` already
    """
    try:
        connection.execute(_INSERT, dict(values))
    except IntegrityError:
        # It is there: another request with the same key was faster, or this transaction was
        # committed and its answer lost.
        found = connection.execute(_TWIN, {"uuid": values["uuid"], "key": values["idempotency"]})
        return str(found.scalar_one())
    return str(values["uuid"])


def with_key(connection: Connection, idempotency: str) -> Record | None:
    """Return the case that was made with this digest of an Idempotency-Key."""
    return connection.execute(_BY_KEY, {"key": idempotency}).one_or_none()


def get(connection: Connection, case: str) -> Record | None:
    """Return the case with this UUID."""
    return _BY_UUID.one_or_none(connection, {"uuid": case})


def ending(connection: Connection, case: str) -> Record | None:
    """Return how a case ended, None if it has not.

    :returns: the columns that its end has set, and ``head``, the first piece of its output
    """
    return _ENDING.one_or_none(connection, {"uuid": case})


def page(
    connection: Connection,
    filters: Mapping[str, Any],
    *,
    since: datetime.datetime | None,
    before: int | None,
    limit: int,
) -> Sequence[Record]:
    """Return cases, newest first.

    :param filters: column → value it must have
    :param since: only cases created at this time or later
    :param before: the ``id`` of the last case on the page before
    """
    statement = _COLUMNS.filter_by(**filters) if filters else _COLUMNS
    if since is not None:
        statement = statement.where(TestCase.created_at >= since)
    if before is not None:
        statement = statement.where(TestCase.id < before)
    return connection.execute(statement.order_by(TestCase.id.desc()).limit(limit)).all()


def target(connection: Connection, name: str) -> Sequence[Record]:
    """Return the host of this name, or else the hosts with this address, and how busy they are.

    :returns: ``id, uuid, host, plugins`` (JSON text), ``meta, slots, last_seen_at, stopped``,
        ``disabled``, ``active`` (how many cases it has been given that are not finished) and
        ``waited_for`` (whether others wait)
    """
    found = _HOST_NAMED.one_or_none(connection, {"name": name})
    return [found] if found else connection.execute(_HOSTS_AT, {"address": name}).all()


def waiting_hosts(connection: Connection) -> list[str]:
    """Return the names of hosts that cases wait for."""
    return list(connection.execute(_WAITING_HOSTS).scalars())


def load(connection: Connection, hosts: Iterable[str]) -> dict[str, int]:
    """Return how many cases each of these hosts has been given and not finished."""
    rows = connection.execute(_LOAD, {"hosts": list(hosts)})
    return {row.host: row.active for row in rows}


def demand(connection: Connection, hosts: Iterable[str]) -> Sequence[Record]:
    """Return those of these hosts that cases wait for, and how busy they are.

    :returns: ``host, agent, slots, last_seen_at, stopped, disabled, active``; the last is how many
        cases the host has been given that are not finished
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


def reoffer(
    connection: Connection, cases: Sequence[str], now: datetime.datetime
) -> Sequence[Record]:
    """Return those of these cases whose attempt nobody has begun, stamped as dispatched now."""
    if not cases:
        return []
    connection.execute(_REOFFER, {"uuids": cases, "now": now})
    return connection.execute(_REOFFERED, {"uuids": cases, "now": now}).all()


def release(connection: Connection, attempts: Iterable[str], why: str) -> None:
    """Let cases wait again whose command certainly reached nobody."""
    connection.execute(_RELEASE, {"tokens": list(attempts), "why": why})


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


def expired(connection: Connection, before: datetime.datetime) -> list[str]:
    """Return UUIDs of cases that wait since before this time."""
    return list(connection.execute(_EXPIRED, {"before": before}).scalars())


def active(connection: Connection, before: datetime.datetime) -> Sequence[Record]:
    """Return the unfinished cases dispatched before this time, with their host's last heartbeat."""
    return connection.execute(_IN_HAND, {"before": before}).all()


def active_on(connection: Connection, host: str) -> list[str]:
    """Return UUIDs of the cases that a host was given and has not finished."""
    return list(connection.execute(_ACTIVE_OF, {"host": host}).scalars())


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


def rerun(connection: Connection, cases: Iterable[str], why: str) -> list[str]:
    """Let lost cases wait again that say ``rerun_on_loss``; what they had written is dropped.

    :returns: the UUIDs of the cases that wait again
    """
    cases = list(cases)
    if not cases:
        return []
    rows = [
        row
        for row in lock(connection, cases).values()
        if row.rerun_on_loss and row.state == State.RUNNING
    ]
    change(
        connection,
        [
            {
                "row": row.id,
                "state": State.QUEUED,
                "attempt": None,
                "dispatched_at": None,
                "started_at": None,
                "detail": why,
            }
            for row in rows
        ],
    )
    if rows:
        connection.execute(_DROP_OUTPUT, {"ids": [row.id for row in rows]})
    return [row.uuid for row in rows]


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
            reason=None,
            detail="cancelled before it was dispatched",
        )
    elif row.state == State.RUNNING:
        change(connection, [{"row": row.id, "state": State.CANCELLING}])
    return str(row.state)
