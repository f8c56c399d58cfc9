"""What the API asks about test cases."""

from __future__ import annotations

import datetime
import ipaddress
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Text,
    bindparam,
    case,
    func,
    insert,
    literal,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.exc import IntegrityError

from labapi.case import State
from labapi.db import groups
from labapi.db.hosts import LIVE, PLUGINS
from labapi.db.models import (
    CANNOT_BE_SHOWN,
    FormerHost,
    Host,
    JSONText,
    OutputChunk,
    Service,
    TestCase,
)
from labapi.db.prepared import Prepared
from labapi.db.session import Record

# Statements are built once: building one takes longer than running it.
_COLUMNS = TestCase.__table__.columns
# With the metadata of its host, which may keep somebody from seeing what ran there.
_CASE = (
    select(*_COLUMNS, func.coalesce(Host.meta, FormerHost.meta, type_=JSONText).label("host_meta"))
    .outerjoin(Host, Host.host == TestCase.host)
    .outerjoin(FormerHost, FormerHost.host == TestCase.host)
)
_THESE = Prepared(
    _CASE.where(TestCase.id.in_(bindparam("ids", expanding=True))).order_by(TestCase.id.desc())
)
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
_PLACED = (
    select(
        TestCase.uuid,
        TestCase.project_id,
        TestCase.host,
        TestCase.state,
        TestCase.placement,
        func.coalesce(Host.meta, FormerHost.meta, type_=JSONText).label("host_meta"),
    )
    .outerjoin(Host, Host.host == TestCase.host)
    .outerjoin(FormerHost, FormerHost.host == TestCase.host)
    .where(TestCase.uuid.in_(bindparam("uuids", expanding=True)))
)
# Data of more characters than this are said to be too large, instead of being read.
_MOST_DATA: BindParameter[int] = bindparam("most")
TOO_LARGE = f'{{"{CANNOT_BE_SHOWN}":"too large for a list; GET /v2.1/testcases/{{id}} has it"}}'
_SHORT_DATA = type_coerce(
    case(
        (func.length(type_coerce(TestCase.data, Text)) > _MOST_DATA, literal(TOO_LARGE)),
        else_=type_coerce(TestCase.data, Text),
    ),
    JSONText,
).label("data")
_BATCH = (
    _CASE.with_only_columns(
        *[_SHORT_DATA if column.name == "data" else column for column in _CASE.selected_columns]
    )
    .where(TestCase.batch == bindparam("batch"))
    .order_by(TestCase.id)
)
_OF_BATCH = select(TestCase.uuid).where(TestCase.batch == bindparam("batch"))
_LEFT = (
    select(func.count())
    .select_from(TestCase)
    .where(TestCase.batch == bindparam("batch"), TestCase.state != State.FINISHED)
)
_HEADS = (
    select(TestCase.uuid, func.substr(OutputChunk.data, 1, bindparam("most")).label("data"))
    .join(OutputChunk, (OutputChunk.testcase_id == TestCase.id) & (OutputChunk.offset == 0))
    .where(TestCase.uuid.in_(bindparam("uuids", expanding=True)))
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
# The host that a case names, and whether it takes cases now.
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
    groups.closed_to(bindparam("project")).label("closed"),
).outerjoin(Service, LIVE)
_HOST_NAMED = Prepared(_HOST.where(Host.host == bindparam("name")))
_HOSTS_AT = _HOST.where(Host.address == bindparam("address"))
_HOSTS_AT_THESE = _HOST.add_columns(Host.address).where(
    Host.address.in_(bindparam("addresses", expanding=True))
)
_HOSTS_NAMED = _HOST.where(Host.host.in_(bindparam("names", expanding=True)))


def create(connection: Connection, values: Mapping[str, Any]) -> str:
    """Add a case; ``values`` has every column that is not null and has no default.

    :returns: its UUID, or that of the case that has this ``idempotency`` already
    """
    return create_all(connection, [values])


def create_all(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> str:
    """Add the cases of one request, all or none; the first has its ``idempotency``.

    :param rows: as ``values`` of :func:`create`, all with the same columns
    :returns: the UUID of the first, or of the case that has this ``idempotency`` already
    """
    first, others = rows[0], rows[1:]
    try:
        connection.execute(_INSERT, dict(first))
    except IntegrityError:
        # It is there: another request with the same key was faster, or this transaction was
        # committed and its answer lost.
        found = connection.execute(_TWIN, {"uuid": first["uuid"], "key": first["idempotency"]})
        return str(found.scalar_one())
    if others:
        connection.execute(_INSERT, [dict(row) for row in others])
    return str(first["uuid"])


def add(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add cases that nobody else adds: columns as :func:`create_all` takes them."""
    connection.execute(_INSERT, [dict(row) for row in rows])


def with_key(connection: Connection, idempotency: str) -> Record | None:
    """Return the case that was made with this digest of an Idempotency-Key, as :func:`get`."""
    return connection.execute(_BY_KEY, {"key": idempotency}).one_or_none()


def get(connection: Connection, uuid: str) -> Record | None:
    """Return the case with this UUID, and ``host_meta``, its host's metadata."""
    return _BY_UUID.one_or_none(connection, {"uuid": uuid})


def placed(connection: Connection, cases: Iterable[str]) -> Sequence[Record]:
    """Return where cases are: ``uuid, project_id, host, state, placement, host_meta``."""
    return connection.execute(_PLACED, {"uuids": list(cases)}).all()


def batch(connection: Connection, batch: str, most_data: int) -> Sequence[Record]:
    """Return the cases of a batch in the order in which they were made, as :func:`get`.

    :param most_data: characters of ``data`` beyond which it says that it cannot be shown
    """
    return connection.execute(_BATCH, {"batch": batch, "most": most_data}).all()


def of_batch(connection: Connection, batch: str) -> list[str]:
    """Return the UUIDs of the cases of a batch."""
    return list(connection.execute(_OF_BATCH, {"batch": batch}).scalars())


def left(connection: Connection, batch: str) -> int:
    """Return how many cases of a batch are not finished."""
    return int(connection.execute(_LEFT, {"batch": batch}).scalar_one())


def heads(connection: Connection, cases: Iterable[str], most: int) -> dict[str, bytes]:
    """Return the first pieces of the outputs of cases that have any, by UUID.

    :param most: bytes of each
    """
    rows = connection.execute(_HEADS, {"uuids": list(cases), "most": most})
    return {row.uuid: row.data for row in rows}


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
    rows = _THESE.all(connection, {"ids": ids}) if ids else []
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


def target(connection: Connection, name: str, project: str | None = None) -> Sequence[Record]:
    """Return the host of this name, or else the hosts with this IP address.

    :param project: whose case it is
    :returns: ``id, uuid, host, plugins`` (JSON text), ``meta, slots, last_seen_at, stopped``,
        ``disabled``, and ``closed`` (it is in groups, and none of them names the project)
    """
    found = _HOST_NAMED.one_or_none(connection, {"name": name, "project": project})
    if found and found.host == name:  # MariaDB does not see blanks at the end
        return [found]
    # A machine says its address itself: none may say the name of another, which is not here yet.
    values = {"address": name, "project": project}
    return connection.execute(_HOSTS_AT, values).all() if is_ip(name) else []


def targets(connection: Connection, names: Iterable[str], project: str | None) -> Sequence[Record]:
    """Return the hosts of these names, each as :func:`target` does."""
    return connection.execute(_HOSTS_NAMED, {"names": list(names), "project": project}).all()


def targets_at(
    connection: Connection, addresses: Iterable[str], project: str | None
) -> Sequence[Record]:
    """Return the hosts with these IP addresses, each as :func:`target` does, and ``address``."""
    values = {"addresses": list(addresses), "project": project}
    return connection.execute(_HOSTS_AT_THESE, values).all()


def is_ip(text: str) -> bool:
    """Say whether a text is an IP address, as no host is called."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
