"""Queries about groups of hosts, and who may use their hosts.

A host that is in groups is for the projects that these name; one that is in none is for everybody.
"""

from __future__ import annotations

import datetime
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from labapi.db.models import Host, HostGroup, HostGroupHost, HostGroupProject, TestCase
from labapi.db.session import Record
from labapi.exceptions import Conflict, NotFound

_COLUMNS = HostGroup.__table__.columns
_BY_UUID = select(*_COLUMNS).where(HostGroup.uuid == bindparam("key"))
_BY_NAME = select(*_COLUMNS).where(HostGroup.name == bindparam("key"))
_LOCK = select(HostGroup.id).where(HostGroup.id == bindparam("id")).with_for_update()
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_HOSTS = (
    # A host that is off the list has no metadata that could guard it.
    select(HostGroupHost.group_id, HostGroupHost.host, Host.meta)
    .outerjoin(Host, Host.host == HostGroupHost.host)
    .where(HostGroupHost.group_id.in_(_IDS))
    .order_by(HostGroupHost.host)
)
_PROJECTS = (
    select(HostGroupProject.group_id, HostGroupProject.project_id)
    .where(HostGroupProject.group_id.in_(_IDS))
    .order_by(HostGroupProject.project_id)
)
_NAMES = select(HostGroup.name).order_by(HostGroup.name).limit(bindparam("limit"))
_MEMBERSHIP = select(HostGroupHost.host, HostGroupHost.group_id)
_USERS = select(HostGroup.id, HostGroup.name, HostGroupProject.project_id).outerjoin(
    HostGroupProject, HostGroupProject.group_id == HostGroup.id
)
_KNOWN = select(Host.host).where(Host.host.in_(bindparam("hosts", expanding=True)))
_IN_GROUP = (HostGroupHost.group_id == bindparam("group")) & (HostGroupHost.host == bindparam("of"))
_UPDATE = update(HostGroup).where(HostGroup.id == bindparam("row"))
# Says of a host whether it is in any group.
GROUPED = exists().where(HostGroupHost.host == Host.host).correlate(Host)


class Group(NamedTuple):
    """A group with all that belongs to it.

    :ivar row: its columns
    :ivar hosts: ``{name: metadata of the host}``; those of one that is off the list are None
    :ivar projects: ids
    """

    row: Record
    hosts: dict[str, dict[str, str] | None]
    projects: list[str]


class Use(NamedTuple):
    """Who may use a host that is in groups.

    :ivar groups: their names
    :ivar projects: ids of the projects that these groups name
    """

    groups: frozenset[str]
    projects: frozenset[str]


def closed_to(project: Any) -> ColumnElement[bool]:
    """Return the condition that a host is in groups, and none of them names this project.

    :param project: a parameter, or a column of cases, with its id; who has no project uses only
        what is in no group
    """
    named = (
        exists()
        .where(
            HostGroupHost.host == Host.host,
            HostGroupProject.group_id == HostGroupHost.group_id,
            HostGroupProject.project_id == project,
        )
        .correlate(Host, TestCase)
    )
    return and_(GROUPED, ~named)


def use(connection: Connection) -> dict[str, Use]:
    """Return who may use the hosts that are in groups; all others are for everybody."""
    names: dict[int, str] = {}
    projects: dict[int, set[str]] = defaultdict(set)
    for group, name, project in connection.execute(_USERS):
        names[group] = name
        if project is not None:
            projects[group].add(project)
    groups: dict[str, set[int]] = defaultdict(set)
    for host, group in connection.execute(_MEMBERSHIP):
        if group in names:  # not made since the first statement
            groups[host].add(group)
    # Hosts in the same groups share one object: there may be thousands of them.
    found: dict[frozenset[int], Use] = {}
    for alike in {frozenset(ids) for ids in groups.values()}:
        users = frozenset(project for group in alike for project in projects[group])
        found[alike] = Use(frozenset(names[group] for group in alike), users)
    return {host: found[frozenset(ids)] for host, ids in groups.items()}


def get(connection: Connection, key: str) -> Group | None:
    """Return the group with this UUID or name."""
    row = connection.execute(_BY_UUID, {"key": key}).one_or_none()
    row = row or connection.execute(_BY_NAME, {"key": key}).one_or_none()
    return None if row is None else _whole(connection, [row])[0]


def page(
    connection: Connection, *, project: str | None, everybody: bool, after: int, limit: int
) -> list[Group]:
    """Return groups in the order of their ids.

    :param project: the groups that this project may use
    :param everybody: the groups of all projects instead
    :param after: the last id of the page before, 0 for the first page
    """
    statement = select(*_COLUMNS).where(HostGroup.id > after).order_by(HostGroup.id).limit(limit)
    if not everybody:
        statement = statement.where(
            exists().where(
                HostGroupProject.group_id == HostGroup.id, HostGroupProject.project_id == project
            )
        )
    return _whole(connection, connection.execute(statement).all())


def names(connection: Connection, limit: int) -> list[str]:
    """Return names of groups, no more than ``limit``."""
    return list(connection.execute(_NAMES, {"limit": limit}).scalars())


def known_hosts(connection: Connection, hosts: Iterable[str]) -> set[str]:
    """Return those of these hosts that are on the list."""
    return set(connection.execute(_KNOWN, {"hosts": list(hosts)}).scalars())


def create(
    connection: Connection,
    values: Mapping[str, Any],
    hosts: Iterable[str],
    projects: Iterable[str],
    now: datetime.datetime,
) -> str:
    """Make a group; ``values`` has its name, ``meta`` and ``health_case``.

    :returns: its UUID
    :raises Conflict: there is one of this name
    """
    group = {"uuid": str(uuid.uuid4()), "created_at": now, **values}
    try:
        made = connection.execute(insert(HostGroup), group)
    except IntegrityError:
        raise Conflict(f"name: there is a group {values['name']!r} already") from None
    (number,) = made.inserted_primary_key or (0,)
    _insert(connection, HostGroupHost, number, "host", hosts)
    _insert(connection, HostGroupProject, number, "project_id", projects)
    return str(group["uuid"])


def change(
    connection: Connection,
    group: int,
    values: Mapping[str, Any],
    hosts: Iterable[str] | None,
    projects: Iterable[str] | None,
) -> None:
    """Set columns of a group, and what belongs to it where that is not None.

    :raises Conflict: there is another one of the new name
    :raises NotFound: it was deleted meanwhile
    """
    _lock(connection, group)
    if values:
        columns: dict[str, Any] = {
            name: bindparam(f"new_{name}", type_=_COLUMNS[name].type) for name in values
        }
        given = {f"new_{name}": value for name, value in values.items()}
        try:
            connection.execute(_UPDATE.values(columns), {"row": group, **given})
        except IntegrityError:
            raise Conflict(f"name: there is a group {values['name']!r} already") from None
    if hosts is not None:
        _replace(connection, HostGroupHost, group, "host", hosts)
    if projects is not None:
        _replace(connection, HostGroupProject, group, "project_id", projects)


def remove(connection: Connection, group: int) -> None:
    """Delete a group; its hosts are for everybody then, unless they are in another one.

    :raises NotFound: it was deleted meanwhile
    """
    _lock(connection, group)
    for model in (HostGroupHost, HostGroupProject):
        connection.execute(delete(model).where(model.group_id == group))
    connection.execute(delete(HostGroup).where(HostGroup.id == group))


def add_host(connection: Connection, group: int, host: str) -> None:
    """Put a host into a group, if it is not there yet.

    :raises NotFound: the group was deleted meanwhile
    """
    _lock(connection, group)
    if not _has(connection, group, host):
        _insert(connection, HostGroupHost, group, "host", [host])


def remove_host(connection: Connection, group: int, host: str) -> bool:
    """Take a host out of a group; False if it was not there.

    :raises NotFound: the group was deleted meanwhile
    """
    _lock(connection, group)
    there = _has(connection, group, host)
    connection.execute(delete(HostGroupHost).where(_IN_GROUP), {"group": group, "of": host})
    return there


def _whole(connection: Connection, rows: Sequence[Record]) -> list[Group]:
    if not rows:
        return []
    ids = {"ids": [row.id for row in rows]}
    hosts: dict[int, dict[str, dict[str, str] | None]] = defaultdict(dict)
    for group, host, meta in connection.execute(_HOSTS, ids):
        hosts[group][host] = meta
    projects: dict[int, list[str]] = defaultdict(list)
    for group, project in connection.execute(_PROJECTS, ids):
        projects[group].append(project)
    return [Group(row, hosts[row.id], projects[row.id]) for row in rows]


def _lock(connection: Connection, group: int) -> None:
    """Let changes of a group come one after the other."""
    if connection.execute(_LOCK, {"id": group}).one_or_none() is None:
        raise NotFound("the group was deleted meanwhile")


def _has(connection: Connection, group: int, host: str) -> bool:
    found = select(HostGroupHost.host).where(_IN_GROUP)
    return connection.execute(found, {"group": group, "of": host}).first() is not None


def _replace(
    connection: Connection, model: Any, group: int, column: str, values: Iterable[str]
) -> None:
    connection.execute(delete(model).where(model.group_id == group))
    _insert(connection, model, group, column, values)


def _insert(
    connection: Connection, model: Any, group: int, column: str, values: Iterable[str]
) -> None:
    rows = [{"group_id": group, column: value} for value in sorted(set(values))]
    if rows:
        connection.execute(insert(model), rows)
