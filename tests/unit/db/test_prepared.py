"""Prepared statements: over every database, what they return is what SQLAlchemy would."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pymysql
import pytest
import sqlalchemy
from sqlalchemy import Connection, bindparam, event, exc, select, update

from labapi.db import hosts, services, testcases
from labapi.db.models import Host, Service
from labapi.db.prepared import Prepared
from labapi.db.session import Database
from tests.hosts import announce
from tests.lab import until
from tests.unit.db.test_testcases import NOW

# Numbers, texts, JSON, truth, time, constants, and columns of a row that may be missing.
COLUMNS = (
    select(
        Host.id,
        Host.host,
        Host.plugins,
        Host.meta,
        Host.disputed_by,
        Service.disabled,
        Service.last_seen_at,
        Service.facts,
    )
    .outerjoin(Service, (Service.host == Host.host) & (Service.binary == services.AGENT))
    .where(Host.slots > bindparam("more_than"), Host.id != -1)
)
STATEMENT = COLUMNS.where(Host.host == bindparam("name"))
PREPARED = Prepared(STATEMENT)
LISTED = (
    select(Host.host, Host.plugins)
    .where(
        Host.host.in_(bindparam("names", expanding=True)),
        Host.slots.in_([2, 3]),
        Host.slots >= bindparam("least"),
    )
    .order_by(Host.host)
)
PREPARED_LISTED = Prepared(LISTED)
MANY = COLUMNS.where(Host.host.startswith(bindparam("begin"))).order_by(Host.id)


@pytest.fixture
def name(database: Database) -> str:
    return announce(database, f"h%s-{uuid.uuid4().hex[:8]}", NOW, slots=2)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing but the short way answer."""

    def long(*_: Any) -> None:
        raise AssertionError("SQLAlchemy was asked")

    monkeypatch.setattr(Prepared, "_usual", long)


def both(database: Database, **values: Any) -> list[Any]:
    usual = database.read(lambda c: c.execute(STATEMENT, values).one_or_none())
    return [usual, database.read(PREPARED.one_or_none, values)]


@pytest.mark.usefixtures("short")
def test_a_row_is_sqlalchemys(database: Database, name: str) -> None:
    usual, prepared = both(database, name=name, more_than=1)
    assert prepared == usual
    assert (prepared.host, prepared.plugins, prepared.disabled) == (name, {}, None)
    database.write(services.beat, services.AGENT, {name: {"load": [0.5]}}, NOW)
    usual, prepared = both(database, name=name, more_than=1)
    assert prepared == usual
    assert (prepared.last_seen_at, prepared.facts) == (NOW, {"load": [0.5]})
    assert prepared.disabled is False


@pytest.mark.usefixtures("short")
def test_no_row_is_none(database: Database, name: str) -> None:
    assert both(database, name=name, more_than=2) == [None, None]


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("heard", [[], [0, 2], [0, 1, 2]])
def test_many_rows_are_sqlalchemys(database: Database, heard: list[int]) -> None:
    mark = uuid.uuid4().hex[:8]
    names = [announce(database, f"{mark}-{number}", NOW, slots=2) for number in range(3)]
    beats: dict[str, Any] = {names[number]: {"load": [number]} for number in heard}
    database.write(services.beat, services.AGENT, beats, NOW)
    values = {"begin": mark, "more_than": 1}
    usual = database.read(lambda c: c.execute(MANY, values).all())
    rows = database.read(Prepared(MANY).all, values)
    assert rows == usual
    assert [row.host for row in rows] == names
    assert [row.facts for row in rows] == [beats.get(name) for name in names]
    assert database.read(Prepared(MANY).all, {"begin": mark, "more_than": 2}) == []


@pytest.mark.usefixtures("short")
def test_all_of_ours_take_the_short_way(
    database: Database, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {
        value
        for module in (hosts, testcases)
        for value in vars(module).values()
        if isinstance(value, Prepared)
    }
    taken = set()
    found = Prepared._found

    def noted(self: Prepared, connection: Any, values: Any) -> Any:
        taken.add(self)
        return found(self, connection, values)

    monkeypatch.setattr(Prepared, "_found", noted)
    (host,) = database.read(testcases.target, name)
    assert host.host == name
    assert database.read(hosts.get, host.id) == database.read(hosts.get, host.uuid)
    assert database.read(hosts.get, host.id) == database.read(hosts.named, name)
    assert database.read(testcases.get, "none") is None
    assert database.read(testcases.ending, "none") is None
    for whole in (False, True):
        (row,) = database.read(hosts.page, after=host.id - 1, limit=1, whole=whole)
        assert database.read(hosts.these, [host.id], whole=whole) == [row]
        assert row.host == name
    case: dict[str, Any] = {
        "uuid": "c",
        "host": name,
        **dict.fromkeys(("plugin", "method", "request_id"), "x"),
    }
    case |= {"parameters": {}, "timeout": 1.0, "state": "finished", "created_at": NOW}
    database.write(testcases.create, case)
    (listed,), _ = database.read(testcases.page, {"host": name}, since=None, before=None, limit=1)
    assert listed == database.read(testcases.get, "c")
    assert taken == ours


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8])
def test_a_list_may_have_any_length(database: Database, count: int) -> None:
    names = [announce(database, f"h-{uuid.uuid4().hex[:8]}", NOW, slots=2) for _ in range(8)]
    usual = database.read(lambda c: c.execute(LISTED, {"names": names[:count], "least": 2}).all())
    assert [row.host for row in usual] == sorted(names[:count])
    for wanted in (names[:count], names[:count]):
        found = database.read(PREPARED_LISTED.all, {"names": wanted, "least": 2})
        assert found == usual
    assert database.read(PREPARED_LISTED.all, {"names": names[:count], "least": 3}) == []
    if count:
        # Another list of the same length, by the same plan.
        (other,) = database.read(PREPARED_LISTED.all, {"names": names[-1:], "least": 2})
        assert other.host == names[-1]


def test_who_listens_hears_it(database: Database, name: str) -> None:
    heard: list[str] = []

    def hear(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        heard.append(statement)

    event.listen(sqlalchemy.Engine, "before_cursor_execute", hear)
    try:
        database.read(PREPARED.one_or_none, {"name": name, "more_than": 1})
    finally:
        event.remove(sqlalchemy.Engine, "before_cursor_execute", hear)
    database.read(PREPARED.one_or_none, {"name": name, "more_than": 1})
    assert [statement[:15] for statement in heard] == ["SELECT hosts.id"]


def test_who_logs_statements_sees_it(
    database: Database, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    values = {"name": name, "more_than": 1}
    with caplog.at_level("INFO", logger="sqlalchemy.engine"):
        database.close()  # SQLAlchemy looks at the level when it opens a connection
        database.read(PREPARED.one_or_none, values)
    database.read(PREPARED.one_or_none, values)
    assert len([r for r in caplog.records if r.getMessage().startswith("SELECT hosts.id")]) == 1


def test_an_error_is_sqlalchemys(database: Database) -> None:
    statement = select(sqlalchemy.table("missing", sqlalchemy.column("id")).c.id)
    with database.engine().connect() as connection, pytest.raises(exc.DBAPIError, match="missing"):
        Prepared(statement).one_or_none(connection, {})


def test_a_connection_that_died_is_replaced(database: Database, name: str) -> None:
    if database.url.get_backend_name() == "sqlite":
        pytest.skip("SQLite has no connections that could die")
    values = {"name": name, "more_than": 1}
    number = database.read(lambda c: c.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())
    server = pymysql.connect(host=database.url.host, user=database.url.username)
    with server, server.cursor() as cursor:
        cursor.execute(f"KILL {number}")

        def gone() -> bool:
            cursor.execute("SELECT id FROM information_schema.processlist")
            return number not in [row[0] for row in cursor.fetchall()]

        until(gone, what="the end of the connection")
    found = database.read(PREPARED.one_or_none, values)
    assert found is not None
    assert found.host == name


def test_a_transaction_that_lost_a_deadlock_begins_again(database: Database) -> None:
    if database.url.get_backend_name() == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    one, other, *more = [announce(database, uuid.uuid4().hex, NOW, slots=1) for _ in range(20)]
    prepared = Prepared(select(Host.id).where(Host.host == bindparam("name")).with_for_update())
    both_hold = threading.Barrier(2, timeout=60)
    tries: list[int] = []

    def slots(connection: Connection, names: list[str]) -> None:
        connection.execute(update(Host).where(Host.host.in_(names)).values(slots=7))

    def loses(connection: Connection) -> None:
        tries.append(len(tries))
        slots(connection, [one])
        if len(tries) == 1:
            both_hold.wait()
        prepared.one_or_none(connection, {"name": other})

    def wins(connection: Connection) -> None:
        slots(connection, [other, *more])  # MariaDB ends the one that has changed less
        both_hold.wait()
        connection.execute(select(Host.id).where(Host.host == one).with_for_update())

    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(database.write, wins)
        database.write(loses)
        beside.result(timeout=60)
    found = database.read(hosts.named, one)
    assert found is not None
    assert found.slots == 7, "what it had changed before is not lost"
    assert tries == [0, 1]
