"""Queries about hosts."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Executable,
    Text,
    bindparam,
    select,
    type_coerce,
    update,
)

from labapi.db import former
from labapi.db.models import Host, Service
from labapi.db.prepared import Prepared
from labapi.db.services import AGENT
from labapi.db.session import Record
from labapi.db.upsert import upsert

# Makes new metadata of old ones.
MetaChange = Callable[[dict[str, str]], dict[str, str]]

# Statements are built once: building one takes longer than running it.
LIVE = (Service.host == Host.host) & (Service.binary == AGENT)
# As the text that it is kept as: many hosts announce the same, which is worth decoding once.
PLUGINS = type_coerce(Host.plugins, Text).label("plugins")
_BRIEF = select(Host.id, Host.uuid, Host.host, Host.meta)
_WHOLE = select(
    Host.id,
    Host.uuid,
    Host.host,
    Host.address,
    PLUGINS,
    Host.release,
    Host.slots,
    Host.meta,
    Host.disputed_by,
    Service.last_seen_at,
    Service.stopped,
    Service.disabled,
).outerjoin(Service, LIVE)
_BY_ID = Prepared(_WHOLE.where(Host.id == bindparam("id")))
_BY_UUID = Prepared(_WHOLE.where(Host.uuid == bindparam("uuid")))
_AFTER: BindParameter[int] = bindparam("after")
_LIMIT: BindParameter[int] = bindparam("limit")
_BRIEF_PAGE = _BRIEF.where(Host.id > _AFTER).order_by(Host.id).limit(_LIMIT)
_WHOLE_PAGE = _WHOLE.where(Host.id > _AFTER).order_by(Host.id).limit(_LIMIT)
_LAST_OF_PAGE = (
    select(Host.id).where(Host.id > _AFTER).order_by(Host.id).limit(2).offset(bindparam("skip"))
)
_HEARD = (
    select(Host.host, Service.last_seen_at, Service.stopped)
    .outerjoin(Service, LIVE)
    .where(Host.host.in_(bindparam("hosts", expanding=True)))
)
_META = select(Host.meta).where(Host.id == bindparam("id")).with_for_update()
_SET_META = update(Host).where(Host.id == bindparam("row")).values(meta=bindparam("new_meta"))
_KNOWN = (
    select(Host.host, Host.agent, Host.journal, Host.session, Service.id)
    .outerjoin(Service, LIVE)
    .where(Host.host.in_(bindparam("hosts", expanding=True)))
)
_DISPUTE = update(Host).where(Host.host == bindparam("of")).values(disputed_by=bindparam("by"))
_DISPUTED = select(Host.host, Host.disputed_by).where(Host.disputed_by.is_not(None))
_ACCEPT = (
    update(Host)
    .where(Host.host == bindparam("of"), Host.disputed_by.is_not(None))
    .values(agent=Host.disputed_by, journal=None, session=None)
)


def get(connection: Connection, key: int | str) -> Record | None:
    """Return the host with this id or UUID; its plugins are JSON text."""
    if isinstance(key, int):
        return _BY_ID.one_or_none(connection, {"id": key})
    return _BY_UUID.one_or_none(connection, {"uuid": key})


def page(connection: Connection, *, after: int, limit: int, whole: bool) -> Sequence[Record]:
    """Return hosts in the order of their ids.

    :param after: the last id of the page before, 0 for the first page
    :param whole: with plugins, as JSON text, and the time of the last heartbeat
    """
    statement: Executable = _WHOLE_PAGE if whole else _BRIEF_PAGE
    return connection.execute(statement, {"after": after, "limit": limit}).all()


def last_of_page(connection: Connection, *, after: int, limit: int) -> int | None:
    """Return the id of the last host of a page, None if there is no page after it."""
    found = connection.execute(_LAST_OF_PAGE, {"after": after, "skip": limit - 1}).scalars().all()
    return int(found[0]) if len(found) == 2 else None


def heard(connection: Connection, hosts: Iterable[str]) -> Sequence[Record]:
    """Return ``host, last_seen_at, stopped`` of these hosts."""
    return connection.execute(_HEARD, {"hosts": list(hosts)}).all()


def announce(
    connection: Connection, announced: Mapping[str, Mapping[str, Any]], now: datetime.datetime
) -> None:
    """Write down what hosts say of themselves.

    :param announced: ``{host: {"address", "agent", "release", "slots", "plugins", "journal",
        "session"}}``
    """
    rows = [
        {"uuid": str(uuid.uuid4()), "host": host, **said, "created_at": now}
        for host, said in announced.items()
    ]
    upsert(connection, Host, ("host",), rows, keep=("uuid", "created_at"))
    former.restore(connection, announced)


def change_meta(connection: Connection, host: int, change: MetaChange) -> dict[str, str]:
    """Replace a host's metadata by what ``change`` makes of them, and return that."""
    meta: dict[str, str] = change(connection.execute(_META, {"id": host}).scalar_one())
    connection.execute(_SET_META, {"row": host, "new_meta": meta})
    return meta


def known(connection: Connection, hosts: Iterable[str]) -> dict[str, Record]:
    """Return ``host, agent, id`` of those hosts that announced themselves, by host.

    ``id`` is that of the agent's service, None if it was never heard of.
    """
    return {row.host: row for row in connection.execute(_KNOWN, {"hosts": list(hosts)})}


def dispute(connection: Connection, disputes: Mapping[str, str]) -> None:
    """Note agents that use the names of hosts that belong to others, ``{host: agent}``."""
    if disputes:
        rows = [{"of": host, "by": agent} for host, agent in disputes.items()]
        connection.execute(_DISPUTE, rows)


def disputed(connection: Connection) -> dict[str, str]:
    """Return ``{host: agent}`` of all disputes that nobody has decided."""
    return {row.host: row.disputed_by for row in connection.execute(_DISPUTED)}


def accept(connection: Connection, host: str) -> bool:
    """Give a host to the agent that disputes its name; False if none does."""
    done = connection.execute(_ACCEPT, {"of": host})
    if done.rowcount:
        connection.execute(_DISPUTE, {"of": host, "by": None})
    return bool(done.rowcount)
