"""Queries about the programs that are or were running."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, false, select, update

from labapi.db.models import Service
from labapi.db.session import Record

_ALL = select(*Service.__table__.columns).order_by(Service.binary, Service.host)
_SWITCH = (
    update(Service)
    .where(Service.binary == bindparam("of"), Service.host == bindparam("at"))
    .values(disabled=bindparam("off"), disabled_reason=bindparam("why"))
)

_TOUCH = (
    update(Service)
    .where(Service.id.in_(bindparam("ids", expanding=True)))
    .values(last_seen_at=bindparam("now"), stopped=false())
)


def touch(connection: Connection, ids: Sequence[int], now: datetime.datetime) -> bool:
    """Stamp running services as heard of at ``now``; False if one of them is no longer there."""
    done = connection.execute(_TOUCH, {"ids": ids, "now": now})
    return bool(done.rowcount == len(ids))


def every(
    connection: Connection, *, binary: str | None = None, host: str | None = None
) -> Sequence[Record]:
    """Return services in the order of their names, of one program or one host if so asked."""
    wanted = {"binary": binary, "host": host}
    filters = {name: value for name, value in wanted.items() if value is not None}
    return connection.execute(_ALL.filter_by(**filters)).all()


def switch(
    connection: Connection, binary: str, host: str, *, disabled: bool, reason: str | None
) -> bool:
    """Disable or enable a service; False if there is no such one."""
    values = {"of": binary, "at": host, "off": disabled, "why": reason}
    if not every(connection, binary=binary, host=host):
        return False
    connection.execute(_SWITCH, values)
    return True
