"""Queries about hosts."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Text,
    bindparam,
    exists,
    func,
    select,
    type_coerce,
    update,
)

from labapi.case import ACTIVE
from labapi.db import former, groups
from labapi.db.models import Host, HostGroupHost, Service, TestCase
from labapi.db.prepared import Prepared
from labapi.db.services import AGENT
from labapi.db.session import Record
from labapi.db.upsert import upsert
from labapi.exceptions import NotFound

# Makes new metadata of old ones.
MetaChange = Callable[[dict[str, str]], dict[str, str]]

# Hosts of a page beyond which it is worth to count all first.
COUNTED = 200

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
    Host.bad_since,
    Host.bad_reason,
    Host.trusted_keys,
    Service.last_seen_at,
    Service.stopped,
    Service.disabled,
    Service.zone,
    Host.lease_id,
    # Whether it is worth asking more of labapi.db.host_use.
    exists().where(HostGroupHost.host == Host.host).label("grouped"),
    exists().where(TestCase.state.in_(ACTIVE), TestCase.host == Host.host).label("busy"),
)
_WHOLE = _WHOLE.outerjoin(Service, LIVE)
_ONE = _WHOLE.add_columns(Service.facts)
_BY_ID = Prepared(_ONE.where(Host.id == bindparam("id")))
_BY_UUID = Prepared(_ONE.where(Host.uuid == bindparam("uuid")))
_BY_NAME = Prepared(_ONE.where(Host.host == bindparam("name")))
_AFTER: BindParameter[int] = bindparam("after")
_LIMIT: BindParameter[int] = bindparam("limit")
_WANTED = (
    select(
        Host.host,
        Host.meta,
        Service.last_seen_at,
        Service.stopped,
        Service.disabled,
        groups.closed_to(bindparam("project")).label("closed"),
    )
    .outerjoin(Service, LIVE)
    .where(Host.host.in_(bindparam("hosts", expanding=True)))
)
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_BRIEF_PAGE = Prepared(_BRIEF.where(Host.id > _AFTER).order_by(Host.id).limit(_LIMIT))
_WHOLE_PAGE = Prepared(_WHOLE.where(Host.id > _AFTER).order_by(Host.id).limit(_LIMIT))
_THESE_BRIEF = Prepared(_BRIEF.where(Host.id.in_(_IDS)).order_by(Host.id))
_THESE_WHOLE = Prepared(_WHOLE.where(Host.id.in_(_IDS)).order_by(Host.id))
_LAST_OF_PAGE = (
    select(Host.id).where(Host.id > _AFTER).order_by(Host.id).limit(2).offset(bindparam("skip"))
)
_COUNT = select(func.count()).select_from(Host)
_HEARD = (
    select(Host.host, Service.last_seen_at, Service.stopped)
    .outerjoin(Service, LIVE)
    .where(Host.host.in_(bindparam("hosts", expanding=True)))
)
_META = select(Host.meta).where(Host.id == bindparam("id")).with_for_update()
_SET_META = (
    update(Host)
    .where(Host.id == bindparam("row"))
    .values(meta=bindparam("new_meta"), changed_at=bindparam("now"))
)
_KNOWN = (
    select(Host.host, Host.agent, Host.journal, Host.session, Service.id)
    .outerjoin(Service, LIVE)
    .where(Host.host.in_(bindparam("hosts", expanding=True)))
)
_TRUSTED = select(Host.host, Host.trusted_keys).where(Host.trusted_keys.is_not(None))
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


def named(connection: Connection, name: str) -> Record | None:
    """Return the host of this name, as :func:`get`."""
    return _BY_NAME.one_or_none(connection, {"name": name})


def page(connection: Connection, *, after: int, limit: int, whole: bool) -> Sequence[Record]:
    """Return hosts in the order of their ids.

    :param after: the last id of the page before, 0 for the first page
    :param whole: with plugins, as JSON text, and the time of the last heartbeat
    """
    statement = _WHOLE_PAGE if whole else _BRIEF_PAGE
    return statement.all(connection, {"after": after, "limit": limit})


def these(connection: Connection, ids: Iterable[int], *, whole: bool) -> Sequence[Record]:
    """Return the hosts with these ids that are there, as :func:`page` does."""
    statement = _THESE_WHOLE if whole else _THESE_BRIEF
    return statement.all(connection, {"ids": list(ids)})


def last_of_page(connection: Connection, *, after: int, limit: int) -> int | None:
    """Return the id of the last host of a page, None if there is no page after it."""
    # To skip rows they are read, plugins and all; an index is enough to count them.
    if limit > COUNTED and connection.execute(_COUNT).scalar_one() <= limit:
        return None
    found = connection.execute(_LAST_OF_PAGE, {"after": after, "skip": limit - 1}).scalars().all()
    return int(found[0]) if len(found) == 2 else None


def heard(connection: Connection, hosts: Iterable[str]) -> Sequence[Record]:
    """Return ``host, last_seen_at, stopped`` of these hosts."""
    return connection.execute(_HEARD, {"hosts": list(hosts)}).all()


def wanted(connection: Connection, hosts: Iterable[str], project: str | None) -> Sequence[Record]:
    """Return those of these hosts that are there, and whether a project may use them now.

    :returns: ``host, meta, last_seen_at, stopped, disabled`` and ``closed`` (it is in groups, and
        none of them names the project)
    """
    return connection.execute(_WANTED, {"hosts": list(hosts), "project": project}).all()


def announce(
    connection: Connection,
    announced: Mapping[str, Mapping[str, Any]],
    now: datetime.datetime,
    *,
    guarded: bool = False,
) -> None:
    """Write down what hosts say of themselves.

    :param announced: ``{host: {"address", "agent", "release", "slots", "plugins", "journal",
        "session", "trusted_keys"}}``
    :param guarded: what other agents say than those that the hosts belong to changes nothing
    """
    rows = [
        {"uuid": str(uuid.uuid4()), "host": host, **said, "created_at": now, "changed_at": now}
        for host, said in announced.items()
    ]
    same = "agent" if guarded else None
    upsert(connection, Host, ("host",), rows, keep=("uuid", "created_at"), same=same)
    former.restore(connection, announced)


def change_meta(connection: Connection, host: int, change: MetaChange) -> dict[str, str]:
    """Replace a host's metadata by what ``change`` makes of them, and return that.

    :raises NotFound: the host has just been taken off the list
    """
    before = connection.execute(_META, {"id": host}).one_or_none()
    if before is None:
        raise NotFound("the host has just been taken off the list")
    meta: dict[str, str] = change(before.meta)
    now = datetime.datetime.now(datetime.UTC)
    connection.execute(_SET_META, {"row": host, "new_meta": meta, "now": now})
    return meta


def known(connection: Connection, hosts: Iterable[str]) -> dict[str, Record]:
    """Return ``host, agent, id`` of those hosts that announced themselves, by host.

    ``id`` is that of the agent's service, None if it was never heard of.
    """
    return {row.host: row for row in connection.execute(_KNOWN, {"hosts": list(hosts)})}


def trusted_keys(connection: Connection) -> dict[str, list[str]]:
    """Return ``{host: short names of keys}`` of those hosts whose agents obey these keys only."""
    return {row.host: row.trusted_keys for row in connection.execute(_TRUSTED)}


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
