"""Queries about hosts and the services on them."""

from __future__ import annotations

import datetime
import uuid
from collections import defaultdict
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
from sqlalchemy.dialects import mysql, sqlite

from labapi.db.models import Base, Host, Service
from labapi.db.prepared import Prepared
from labapi.db.session import Record
from labapi.rpc.messages import Announce

AGENT = "labapi-agent"

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
    Host.claimed_by,
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
    select(Host.uuid).where(Host.id > _AFTER).order_by(Host.id).limit(2).offset(bindparam("skip"))
)
_HEARD = (
    select(Host.host, Service.last_seen_at, Service.stopped)
    .outerjoin(Service, LIVE)
    .where(Host.host.in_(bindparam("hosts", expanding=True)))
)
_META = select(Host.meta).where(Host.id == bindparam("id")).with_for_update()
_SET_META = update(Host).where(Host.id == bindparam("row")).values(meta=bindparam("new_meta"))
_OF_HOSTS: BindParameter[str] = bindparam("hosts", expanding=True)
_KNOWN = (
    select(Host.host, Host.agent, Service.id)
    .outerjoin(Service, LIVE)
    .where(Host.host.in_(_OF_HOSTS))
)
_SERVICES = select(Service.host, Service.id).where(
    Service.binary == bindparam("binary"), Service.host.in_(_OF_HOSTS)
)
_CLAIM = (
    update(Host)
    .where(Host.host == bindparam("of"))
    .values(claimed_by=bindparam("by"), claimed_at=bindparam("now"))
)
_CLAIMED = select(Host.host, Host.claimed_by).where(Host.claimed_by.is_not(None))
_ACCEPT = (
    update(Host)
    .where(Host.host == bindparam("of"), Host.claimed_by.is_not(None))
    .values(agent=Host.claimed_by)
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


def last_of_page(connection: Connection, *, after: int, limit: int) -> str | None:
    """Return the UUID of the last host of a page, None if there is no page after it."""
    found = connection.execute(_LAST_OF_PAGE, {"after": after, "skip": limit - 1}).scalars().all()
    return str(found[0]) if len(found) == 2 else None


def heard(connection: Connection, hosts: Iterable[str]) -> Sequence[Record]:
    """Return ``host, last_seen_at, stopped`` of these hosts."""
    return connection.execute(_HEARD, {"hosts": list(hosts)}).all()


def announce(connection: Connection, announced: Sequence[Announce], now: datetime.datetime) -> None:
    """Write down what hosts say of themselves."""
    # Of several announcements in one batch, a host's last one counts.
    latest = {message.host: message for message in announced}
    rows = [
        {
            "uuid": str(uuid.uuid4()),
            "host": message.host,
            "address": message.address,
            "agent": message.agent,
            "release": message.release,
            "slots": message.slots,
            "plugins": message.plugins,
            "created_at": now,
            "announced_at": now,
        }
        for message in latest.values()
    ]
    _upsert(connection, Host, ("host",), rows, keep=("uuid", "created_at"))


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
        _upsert(connection, Service, ("binary", "host"), rows, keep=("id", "created_at"))


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


def claim(connection: Connection, claims: Mapping[str, str], now: datetime.datetime) -> None:
    """Note agents that use the names of hosts that belong to others, ``{host: agent}``."""
    if claims:
        rows = [{"of": host, "by": agent, "now": now} for host, agent in claims.items()]
        connection.execute(_CLAIM, rows)


def claimed(connection: Connection) -> dict[str, str]:
    """Return ``{host: agent}`` of all claims that nobody has decided."""
    return {row.host: row.claimed_by for row in connection.execute(_CLAIMED)}


def accept(connection: Connection, host: str) -> bool:
    """Give a host to the agent that claims it; False if none does."""
    done = connection.execute(_ACCEPT, {"of": host})
    if done.rowcount:
        connection.execute(_CLAIM, {"of": host, "by": None, "now": None})
    return bool(done.rowcount)


def _numbers(connection: Connection, binary: str, hosts: Iterable[str]) -> dict[str, int]:
    """Return the ids that services have already.

    On MariaDB an upsert without the id uses up a new one whenever it updates: at a thousand
    heartbeats a second the column would be full within a month. SQLite counts differently.
    """
    if connection.dialect.name == "sqlite":
        return {}
    rows = connection.execute(_SERVICES, {"binary": binary, "hosts": list(hosts)})
    return {row.host: row.id for row in rows}


def _upsert(
    connection: Connection,
    model: type[Base],
    key: tuple[str, ...],
    rows: list[dict[str, Any]],
    keep: tuple[str, ...],
) -> None:
    """Insert rows, or update the ones whose key exists; one statement for all of them.

    :param keep: columns that an existing row keeps
    """
    if not rows:
        return
    changed = [name for name in rows[0] if name not in key and name not in keep]
    if connection.dialect.name == "sqlite":
        insert = sqlite.insert(model)
        statement: Any = insert.on_conflict_do_update(
            index_elements=list(key), set_={name: insert.excluded[name] for name in changed}
        )
    else:
        into = mysql.insert(model)
        statement = into.on_duplicate_key_update({name: into.inserted[name] for name in changed})
    connection.execute(statement, rows)
