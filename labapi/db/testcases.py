"""What the API asks about test cases."""

from __future__ import annotations

import datetime
import ipaddress
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.exc import IntegrityError

from labapi.case import State
from labapi.db.hosts import LIVE, PLUGINS
from labapi.db.models import FormerHost, Host, JSONText, OutputChunk, Service, TestCase
from labapi.db.prepared import Prepared
from labapi.db.queue import ACTIVE_CASES
from labapi.db.session import Record

# Statements are built once: building one takes longer than running it.
_COLUMNS = TestCase.__table__.columns
# With the metadata of its host, which may keep somebody from seeing what ran there.
_CASE = (
    select(*_COLUMNS, func.coalesce(Host.meta, FormerHost.meta, type_=JSONText).label("host_meta"))
    .outerjoin(Host, Host.host == TestCase.host)
    .outerjoin(FormerHost, FormerHost.host == TestCase.host)
)
_THESE = _CASE.where(TestCase.id.in_(bindparam("ids", expanding=True))).order_by(TestCase.id.desc())
# Bytes of parameters and data in a page: strangers fill them, and decoded they take twenty times as
# much memory.
PAGE_BYTES = 1024 * 1024
_SIZES = select(
    TestCase.id,
    (
        func.length(type_coerce(TestCase.parameters, Text))
        + func.coalesce(func.length(type_coerce(TestCase.data, Text)), 0)
    ).label("size"),
)
_BY_UUID = Prepared(_CASE.where(TestCase.uuid == bindparam("uuid")))
_HEAD = (
    select(OutputChunk.data)
    .where(OutputChunk.testcase_id == TestCase.id, OutputChunk.offset == 0)
    .scalar_subquery()
)
_ENDING = Prepared(
    select(*_COLUMNS, _HEAD.label("head")).where(
        TestCase.uuid == bindparam("uuid"), TestCase.state == State.FINISHED
    )
)
_INSERT = insert(TestCase)
_OF_KEY = TestCase.idempotency == bindparam("key")
_BY_KEY = _CASE.where(_OF_KEY)
_TWIN = select(TestCase.uuid).where(or_(TestCase.uuid == bindparam("uuid"), _OF_KEY))
# What nearly all of the newest cases are.
_MOST = ("state", State.FINISHED)
_TABLE: Any = TestCase.__table__
_INDEXES = {index.columns[0].name: index.name for index in _TABLE.indexes}
# By how much the clocks of two APIs may differ: the case that comes first may be stamped later.
SKEW = datetime.timedelta(minutes=2)
# No case is older, and nothing can be subtracted from the earliest datetime.
EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
# The case before a time: those that ``since`` leaves out are not looked at.
_EARLIER = (
    select(TestCase.id)
    .where(TestCase.created_at < bindparam("moment"))
    .order_by(TestCase.created_at.desc())
    .limit(1)
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
    ACTIVE_CASES.label("active"),
    exists().where(TestCase.state == State.QUEUED, TestCase.host == Host.host).label("waited_for"),
).outerjoin(Service, LIVE)
_HOST_NAMED = Prepared(_HOST.where(Host.host == bindparam("name")))
_HOSTS_AT = _HOST.where(Host.address == bindparam("address"))


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
    """Return the case that was made with this digest of an Idempotency-Key, as :func:`get`."""
    return connection.execute(_BY_KEY, {"key": idempotency}).one_or_none()


def get(connection: Connection, case: str) -> Record | None:
    """Return the case with this UUID, and ``host_meta``, its host's metadata."""
    return _BY_UUID.one_or_none(connection, {"uuid": case})


def ending(connection: Connection, case: str) -> Record | None:
    """Return a case that has ended, None if it has not.

    :returns: its columns, and ``head``, the first piece of its output
    """
    return _ENDING.one_or_none(connection, {"uuid": case})


def page(
    connection: Connection,
    filters: Mapping[str, Any],
    *,
    since: datetime.datetime | None,
    before: int | None,
    limit: int,
) -> tuple[Sequence[Record], bool]:
    """Return cases, newest first, each with ``host_meta``, its host's metadata.

    There are fewer than ``limit`` if together they have more than ``PAGE_BYTES``, but at least one.

    :param filters: column → value it must have
    :param since: only cases created at this time or later
    :param before: the ``id`` of the last case on the page before
    :returns: the cases, and whether there are more
    """
    statement = _SIZES.where(*[_equals(name, value) for name, value in filters.items()])
    for dialect in ("mysql", "mariadb"):
        statement = statement.with_hint(TestCase, _hint(filters), dialect)
    if since is not None:
        earlier = connection.execute(_EARLIER, {"moment": max(since, EPOCH) - SKEW}).scalar()
        statement = statement.where(TestCase.id > (earlier or 0), TestCase.created_at >= since)
    if before is not None:
        statement = statement.where(TestCase.id < before)
    found = connection.execute(statement.order_by(TestCase.id.desc()).limit(limit + 1)).all()
    sums = itertools.accumulate(size for _, size in found)
    ids = [row.id for row, total in zip(found[:limit], sums, strict=False) if total <= PAGE_BYTES]
    ids = ids or [row.id for row in found[:1]]
    rows = connection.execute(_THESE, {"ids": ids}).all() if ids else []
    return rows, len(found) > len(ids)


def _equals(name: str, value: Any) -> ColumnElement[bool]:
    column = _TABLE.c[name]
    # An index would find all that ever finished, and sort them; what is computed uses none.
    found: ColumnElement[bool] = (
        column.concat("") == value if (name, value) == _MOST else column == value
    )
    return found


def _hint(filters: Mapping[str, Any]) -> str:
    """Return which indexes MariaDB is to choose from.

    By itself it ignores where a page begins and ends, and reads everything that a filter finds.
    """
    useful = [_INDEXES[item[0]] for item in filters.items() if item != _MOST]
    if useful:
        return f"FORCE INDEX ({', '.join(useful)})"
    return f"IGNORE INDEX ({_INDEXES['created_at']})"


def target(connection: Connection, name: str) -> Sequence[Record]:
    """Return the host of this name, or else the hosts with this IP address, and how busy they are.

    :returns: ``id, uuid, host, plugins`` (JSON text), ``meta, slots, last_seen_at, stopped``,
        ``disabled``, ``active`` (how many cases it has been given that are not finished) and
        ``waited_for`` (whether others wait)
    """
    found = _HOST_NAMED.one_or_none(connection, {"name": name})
    if found:
        return [found]
    # A machine says its address itself: none may say the name of another, which is not here yet.
    return connection.execute(_HOSTS_AT, {"address": name}).all() if _is_ip(name) else []


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
