"""Queries about the programs that are or were running."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, false, or_, select, update

from labapi.db.models import Host, Service
from labapi.db.session import Record
from labapi.db.upsert import upsert

AGENT = "labapi-agent"
CONDUCTOR = "labapi-conductor"
SIGNING_KEY = "signing_key"  # what a conductor says of itself, among its facts

_ALL = select(*Service.__table__.columns).order_by(Service.binary, Service.host)
_SILENT = select(Service.host, Service.last_seen_at, Service.stopped).where(
    Service.binary == AGENT,
    or_(
        Service.stopped, Service.last_seen_at < bindparam("before"), Service.last_seen_at.is_(None)
    ),
)
_LOCK_HOST = select(Host.id).where(Host.host == bindparam("host")).with_for_update()
_SWITCH = (
    update(Service)
    .where(Service.binary == bindparam("of"), Service.host == bindparam("at"))
    .values(
        disabled=bindparam("off"), disabled_reason=bindparam("why"), disabled_by=bindparam("who")
    )
)
_TOUCH = (
    update(Service)
    .where(Service.id.in_(bindparam("ids", expanding=True)))
    .values(last_seen_at=bindparam("now"), stopped=false())
)
_NUMBERS = select(Service.host, Service.id).where(
    Service.binary == bindparam("binary"), Service.host.in_(bindparam("hosts", expanding=True))
)


def touch(connection: Connection, ids: Sequence[int], now: datetime.datetime) -> bool:
    """Stamp running services as heard of at ``now``; False if one of them is no longer there."""
    done = connection.execute(_TOUCH, {"ids": ids, "now": now})
    return bool(done.rowcount == len(ids))


def beat(
    connection: Connection,
    binary: str,
    facts: Mapping[str, dict[str, Any] | None],
    now: datetime.datetime,
    *,
    stopped: bool = False,
) -> None:
    """Stamp services as heard of at ``now``.

    :param facts: ``{host: what it says of itself}``; None leaves what it said before
    :param stopped: this was their goodbye
    """
    if not facts:
        return
    known = _numbers(connection, binary, facts)
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for host, told in facts.items():
        row = {
            "binary": binary,
            "host": host,
            "last_seen_at": now,
            "stopped": stopped,
            "created_at": now,
            **({"id": known[host]} if host in known else {}),
            **({"facts": told} if told is not None else {}),
        }
        alike[tuple(row)].append(row)
    for rows in alike.values():
        upsert(connection, Service, ("binary", "host"), rows, keep=("id", "created_at"))


def every(
    connection: Connection, *, binary: str | None = None, host: str | None = None
) -> Sequence[Record]:
    """Return services in the order of their names; all, or those of one program or host."""
    wanted = {"binary": binary, "host": host}
    filters = {name: value for name, value in wanted.items() if value is not None}
    return connection.execute(_ALL.filter_by(**filters)).all()


def get(connection: Connection, service_id: int) -> Record | None:
    """Return a service, None if there is none with this id."""
    return connection.execute(_ALL.where(Service.id == service_id)).one_or_none()


def silent(connection: Connection, before: datetime.datetime) -> Sequence[Record]:
    """Return ``host, last_seen_at, stopped`` of the agents that stopped, or are silent so long."""
    return connection.execute(_SILENT, {"before": before}).all()


def signing_keys(
    connection: Connection, now: datetime.datetime, down_time: float
) -> set[str | None]:
    """Return the short names of the keys that conductors sign with which are up.

    None stands for one that does not sign.

    :param down_time: seconds of silence after which a conductor counts as down
    """
    since = now - datetime.timedelta(seconds=down_time)
    return {
        row.facts[SIGNING_KEY]
        for row in every(connection, binary=CONDUCTOR)
        if row.facts and SIGNING_KEY in row.facts and not row.stopped and row.last_seen_at >= since
    }


def switch(
    connection: Connection,
    binary: str,
    host: str,
    *,
    disabled: bool,
    reason: str | None,
    by: str | None = None,
) -> bool:
    """Disable or enable a service; False if there is no such one.

    :param by: who does it, remembered as long as the service is disabled; None if unknown
    """
    who = by if disabled else None
    values = {"of": binary, "at": host, "off": disabled, "why": reason, "who": who}
    # Who gives it a case now is waited for: afterwards it is given no more.
    connection.execute(_LOCK_HOST, {"host": host})
    if not every(connection, binary=binary, host=host):
        return False
    connection.execute(_SWITCH, values)
    return True


def _numbers(connection: Connection, binary: str, hosts: Iterable[str]) -> dict[str, int]:
    """Return the ids that services have already.

    On MariaDB an upsert without the id uses up a new one whenever it updates: at a thousand
    heartbeats a second the column would be full within a month. SQLite counts differently.
    """
    if connection.dialect.name == "sqlite":
        return {}
    rows = connection.execute(_NUMBERS, {"binary": binary, "hosts": list(hosts)})
    return {row.host: row.id for row in rows}
