"""Queries about the health of hosts: the lab's faults that speak against them, and who is benched.

A benched host is given no more cases. One that labapi benched itself comes back when a health case
passes there; one that an administrator benched, when an administrator says so.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from labapi.case import Reason, State
from labapi.db.hosts import LIVE
from labapi.db.models import Host, HostFault, HostGroup, HostGroupHost, Service, TestCase
from labapi.db.session import Record

# What is the lab's fault for certain, and that of the host: no caller brings it about by what its
# case asks for. A program that cannot be started may just as well not be there.
LAB_FAULTS = frozenset({Reason.AGENT_LOST, Reason.AGENT_RESTARTED, Reason.NO_SPACE})
ITSELF = "labapi"  # in bad_by
RANK = -1000  # of a health case: it begins before all that wait at the agent

_OF_HOST = Host.host == bindparam("of")
_COUNT = (
    select(func.count())
    .where(HostFault.host == Host.host, HostFault.at > bindparam("since"))
    .correlate(Host)
    .scalar_subquery()
)
_SUSPECTS = (
    select(HostFault.host)
    .join(Host, Host.host == HostFault.host)
    .where(HostFault.at > bindparam("since"), Host.bad_since.is_(None))
    .group_by(HostFault.host)
    .having(func.count() >= bindparam("least"))
)
_REASONS = (
    select(HostFault.reason)
    .where(HostFault.host == bindparam("of"), HostFault.at > bindparam("since"))
    .distinct()
    .order_by(HostFault.reason)
)
_BAD: dict[str, Any] = {
    "bad_since": bindparam("now"),
    "bad_reason": bindparam("why"),
    "bad_by": bindparam("by"),
}
_BENCH = update(Host).where(_OF_HOST, Host.bad_since.is_(None)).values(_BAD)
_BENCH_IF = _BENCH.where(bindparam("least") <= _COUNT)
_BLAME = update(Host).where(_OF_HOST).values({**_BAD, "bad_since": Host.bad_since})
_CLEAR = (
    update(Host)
    .where(_OF_HOST, Host.bad_since.is_not(None))
    .values(bad_since=None, bad_reason=None, bad_by=None)
)
_FORGET = delete(HostFault).where(HostFault.host == bindparam("of"))
_PURGE = delete(HostFault).where(HostFault.at < bindparam("before"))
_BENCHED = (
    select(
        Host.host,
        Host.bad_since,
        Service.last_seen_at,
        Service.stopped,
        Service.disabled,
        HostGroup.health_case,
    )
    .join(HostGroupHost, HostGroupHost.host == Host.host)
    .join(HostGroup, HostGroup.id == HostGroupHost.group_id)
    .outerjoin(Service, LIVE)
    .where(Host.bad_since.is_not(None), Host.bad_by == ITSELF, HostGroup.health_case.is_not(None))
    .order_by(Host.host, HostGroup.id)
)
_LOCK = select(Host.bad_since, Host.bad_by).where(_OF_HOST).with_for_update()
# A case of nobody's is a health case: others always have a user.
_LATEST = (
    select(
        TestCase.uuid, TestCase.state, TestCase.result, TestCase.created_at, TestCase.finished_at
    )
    .where(TestCase.host == bindparam("of"), TestCase.user_id.is_(None))
    .order_by(TestCase.id.desc())
    .limit(1)
)


class Fault(NamedTuple):
    """A case that did not end as it should.

    :ivar case: its UUID
    """

    host: str
    case: str
    reason: str | None


def note(connection: Connection, faults: Iterable[Fault], now: datetime.datetime) -> None:
    """Note those of these faults that are the lab's; what ends many cases at once counts once."""
    lab = {(fault.host, fault.reason): fault for fault in faults if fault.reason in LAB_FAULTS}
    rows = [
        {"host": one.host, "at": now, "testcase": one.case, "reason": one.reason}
        for one in lab.values()
    ]
    if rows:
        connection.execute(insert(HostFault), rows)


def suspects(connection: Connection, since: datetime.datetime, least: int) -> list[str]:
    """Return names of hosts with so many faults since then that are not benched."""
    return list(connection.execute(_SUSPECTS, {"since": since, "least": least}).scalars())


def bench_if(
    connection: Connection, host: str, since: datetime.datetime, least: int, now: datetime.datetime
) -> str | None:
    """Bench a host that has so many faults since then.

    :returns: why; None if it was not benched here
    """
    reasons = connection.execute(_REASONS, {"of": host, "since": since}).scalars()
    window = round((now - since).total_seconds())
    why = f"{least} faults of the lab or more within {window} s ({', '.join(map(str, reasons))})"
    values = {"of": host, "since": since, "least": least, "now": now, "why": why, "by": ITSELF}
    return why if connection.execute(_BENCH_IF, values).rowcount else None


def bench(connection: Connection, host: str, now: datetime.datetime, why: str, by: str) -> None:
    """Bench a host; if it is benched already, since then, but for this reason."""
    values = {"of": host, "now": now, "why": why, "by": by}
    if not connection.execute(_BENCH, values).rowcount:
        connection.execute(_BLAME, {"of": host, "why": why, "by": by})


def clear(connection: Connection, host: str) -> bool:
    """Let a host have cases again, and forget what spoke against it; False if it had them."""
    forget(connection, host)
    return bool(connection.execute(_CLEAR, {"of": host}).rowcount)


def forget(connection: Connection, host: str) -> None:
    """Forget what spoke against a host: it has another agent now."""
    connection.execute(_FORGET, {"of": host})


def purge(connection: Connection, before: datetime.datetime) -> int:
    """Forget the faults from before this time; return how many."""
    return int(connection.execute(_PURGE, {"before": before}).rowcount)


def benched(connection: Connection) -> Sequence[Record]:
    """Return the hosts that labapi benched and that have a health case, one row each.

    :returns: ``host, bad_since, last_seen_at, stopped, disabled, health_case``; the last is that of
        the oldest of its groups that have one
    """
    rows: dict[str, Record] = {}
    for row in connection.execute(_BENCHED):
        if row.health_case is not None:
            rows.setdefault(row.host, row)
    return list(rows.values())


def latest_case(connection: Connection, host: str, bad_since: datetime.datetime) -> Record | None:
    """Return the last health case that a host was given since it was benched.

    :returns: ``uuid, state, result, created_at, finished_at``
    """
    found = connection.execute(_LATEST, {"of": host}).one_or_none()
    return None if found is None or found.created_at < bad_since else found


def give_case(
    connection: Connection,
    host: Record,
    timeout: float,
    now: datetime.datetime,
    *,
    pause: datetime.timedelta,
) -> str | None:
    """Give a benched host its health case, unless somebody was faster.

    :param host: as :func:`benched` returns it
    :param timeout: seconds, where the health case does not say
    :param pause: from the benching, and from the last health case, to this one
    :returns: its UUID
    """
    found = connection.execute(_LOCK, {"of": host.host}).one_or_none()
    if found is None or (found.bad_since, found.bad_by) != (host.bad_since, ITSELF):
        return None
    last = latest_case(connection, host.host, host.bad_since)
    if last is not None and (last.state != State.FINISHED or last.created_at + pause > now):
        return None
    case = str(uuid.uuid4())
    asked: Mapping[str, Any] = host.health_case
    row = {
        "uuid": case,
        "project_id": None,
        "user_id": None,
        "request_id": f"req-{case}",
        "plugin": asked["plugin"],
        "method": asked["method"],
        "host": host.host,
        "parameters": asked.get("parameters", {}),
        "timeout": float(asked.get("timeout", timeout)),
        "queue_rank": RANK,
        "created_at": now,
        "output_size": 0,
        "state": State.RUNNING,
        "attempt": uuid.uuid4().hex,
        "attempts": 1,
        "dispatched_at": now,
    }
    connection.execute(insert(TestCase), row)
    return case


def pass_case(connection: Connection, host: str, bad_since: datetime.datetime) -> bool:
    """Let a host have cases again that was benched then, and is so no other way now."""
    found = connection.execute(_LOCK, {"of": host}).one_or_none()
    if found is None or (found.bad_since, found.bad_by) != (bad_since, ITSELF):
        return False
    return clear(connection, host)
