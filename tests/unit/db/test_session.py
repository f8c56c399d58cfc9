"""What an error of a database means, and how long it is waited for."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pymysql
import pytest
from sqlalchemy import Connection, bindparam, exc, text

from labapi import config
from labapi.db import allowance, migration, pools
from labapi.db.allowance import Allowance
from labapi.db.session import Database
from labapi.exceptions import ConfigError, DatabaseUnavailable
from tests.lab import MariaDB, until
from tests.proxy import Proxy

# Far above what is allowed below, far below what the tests have the database's own timeout be.
SOON = 20.0
LONG = 120.0


def one(connection: Connection) -> int:
    return int(connection.execute(text("SELECT 1")).scalar_one())


def opened(url: str, **options: Any) -> Database:
    conf = config.new(database__connection=url, database__timeout=LONG, **options)
    conf([], project="labapi", default_config_files=[])
    return Database(conf)


@pytest.fixture
def server() -> Iterator[MariaDB]:
    server = MariaDB().create()
    yield server
    server.drop()


@pytest.fixture
def away_soon(server: MariaDB) -> Iterator[tuple[Database, Proxy]]:
    """A database behind a proxy."""
    proxy = Proxy(3306)
    database = opened(server.url.replace(":3306", f":{proxy.port}"))
    yield database, proxy
    proxy.close()
    database.close()


@pytest.mark.parametrize("column", ["misspelt", "'text' AS"])
def test_what_fails_for_ever_is_no_outage(database: Database, column: str) -> None:
    def wrong(connection: Connection) -> None:
        connection.execute(text(f"SELECT {column} FROM hosts"))

    for run in (database.read, database.insert, database.write):
        with pytest.raises(exc.DBAPIError) as raised:
            run(wrong)
        assert isinstance(raised.value, exc.OperationalError | exc.ProgrammingError)


@pytest.mark.parametrize("code", [1020, 1021, 1040, 1053, 1114, 1205, 1213, 1317, 1927, 1969, 2006])
def test_what_passes_by_itself_is_an_outage(server: MariaDB, code: int) -> None:
    database = opened(server.url)
    statement = f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {code}"
    # A deadlock is met again as long as there is time.
    with pytest.raises(DatabaseUnavailable, match="is away") as raised, Allowance(5.0):
        database.read(lambda c: c.exec_driver_sql(statement))
    assert str(code) in str(raised.value.__cause__)
    database.close()


@pytest.mark.parametrize("code", [1054, 1142, 1153, 1146, 1364, 1406])
def test_other_codes_are_errors(server: MariaDB, code: int) -> None:
    database = opened(server.url)
    statement = f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {code}"
    with pytest.raises(exc.DBAPIError):
        database.read(lambda c: c.exec_driver_sql(statement))
    database.close()


def test_a_statement_too_large_for_the_server_is_an_error(server: MariaDB) -> None:
    database = opened(server.url)
    query = text("SELECT :it, CONNECTION_ID()").bindparams(bindparam("it"))

    def connection_of(connection: Connection, value: str) -> int:
        return int(connection.execute(query, {"it": value}).one()[1])

    before = database.read(connection_of, "")
    (largest,) = database.read(lambda c: c.execute(text("SELECT @@max_allowed_packet")).one())
    with pytest.raises(exc.OperationalError, match="max_allowed_packet"):
        database.read(connection_of, "x" * largest)
    assert database.read(connection_of, "x" * 1000) == before
    database.close()


def test_a_full_disk_is_an_outage(tmp_path: Path) -> None:
    database = opened(f"sqlite:///{tmp_path}/full.sqlite")
    migration.upgrade(database)

    def fill(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        connection.exec_driver_sql("CREATE TABLE more AS SELECT zeroblob(1000000) AS data")

    with pytest.raises(DatabaseUnavailable) as raised:
        database.write(fill)
    assert "full" in str(raised.value.__cause__)
    database.close()


def test_a_file_that_cannot_be_opened_is_an_outage(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable):
        opened(f"sqlite:///{tmp_path}/missing/x.sqlite").read(one)


def test_a_lock_is_waited_for_as_long_as_is_allowed(tmp_path: Path) -> None:
    database = opened(f"sqlite:///{tmp_path}/x.sqlite")
    migration.upgrade(database)
    with sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            began = time.monotonic()
            with Allowance(0.5), pytest.raises(DatabaseUnavailable):
                database.write(one)
            assert time.monotonic() - began < SOON
        other.execute("ROLLBACK")
    with Allowance(5.0):
        assert database.write(one) == 1
    database.close()


def test_a_connection_is_waited_for_as_long_as_is_allowed(database: Database) -> None:
    busy = opened(
        database.url.render_as_string(hide_password=False),
        database__pool_size=1,
    )
    held, done = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        held.set()
        done.wait(LONG)

    holder = threading.Thread(target=busy.read, args=(hold,))
    holder.start()
    held.wait(LONG)
    began = time.monotonic()
    with Allowance(0.5), pytest.raises(DatabaseUnavailable, match="busy"):
        busy.read(one)
    assert time.monotonic() - began < SOON
    done.set()
    holder.join(LONG)
    assert busy.read(one) == 1
    busy.close()


def number(connection: Connection) -> int:
    """Return what the server calls a connection."""
    return int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())


def connected(server: MariaDB) -> set[int]:
    """Return the numbers of all connections to a database."""
    with (
        pymysql.connect(host="127.0.0.1", user="root") as connection,
        connection.cursor() as cursor,
    ):
        query = "SELECT id FROM information_schema.processlist WHERE db = %s"
        cursor.execute(query, (server.name,))
        return {row[0] for row in cursor.fetchall()}


def several(database: Database, count: int) -> set[int]:
    """Use several connections at the same moment; return their numbers."""
    together = threading.Barrier(count, timeout=LONG)

    def one_of_them(connection: Connection) -> int:
        together.wait()
        return number(connection)

    with ThreadPoolExecutor(count) as threads:
        return set(threads.map(lambda _: database.read(one_of_them), range(count)))


def test_connections_for_statements_are_kept_but_no_more_than_a_pool_holds(server: MariaDB) -> None:
    database = opened(server.url, database__pool_size=3, database__max_overflow=4)
    used = several(database, 7)
    assert len(used) == 7
    again = several(database, 3)
    assert again < used
    assert {database.read(number) for _ in range(5)} < again
    until(lambda: connected(server) == again, what="the end of the others")
    database.close()
    until(lambda: connected(server) == set(), what="the end of all")
    assert database.read(one) == 1
    database.close()


def test_when_one_connection_is_lost_the_others_are_not_tried(server: MariaDB) -> None:
    database = opened(server.url, database__pool_size=20)
    for lost in several(database, 20):
        server.execute(f"KILL {lost}")
    assert database.read(one) == 1
    database.close()


def test_a_connection_is_replaced_in_time(server: MariaDB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "RECYCLE", 0)
    database = opened(server.url)
    first = database.read(number)
    assert database.read(number) != first
    database.close()


@pytest.mark.parametrize("connected", [True, False])
def test_a_black_hole_is_waited_for_as_long_as_is_allowed(
    away_soon: tuple[Database, Proxy], *, connected: bool
) -> None:
    database, proxy = away_soon
    if connected:
        assert database.read(one) == 1
        assert database.write(one) == 1
    proxy.swallow()
    for run in (database.read, database.insert, database.write):
        began = time.monotonic()
        with Allowance(1.0), pytest.raises(DatabaseUnavailable):
            run(one)
        assert time.monotonic() - began < SOON
    proxy.flow()
    with Allowance(LONG):
        assert database.read(one) == 1


def test_all_that_a_request_asks_shares_one_allowance(
    away_soon: tuple[Database, Proxy],
) -> None:
    database, proxy = away_soon
    proxy.swallow()
    began = time.monotonic()
    with Allowance(1.0):
        for _ in range(100):
            with pytest.raises(DatabaseUnavailable):
                database.read(one)
    assert time.monotonic() - began < 2 * SOON


def test_time_that_is_spent_elsewhere_is_not_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + spent)
    monkeypatch.setattr(allowance, "time", clock)
    with Allowance(SOON):
        spent = 3600.0
        assert database.read(one) == 1
        allowance.end_within(0.0)
        with pytest.raises(DatabaseUnavailable):
            database.read(one)


def test_a_server_that_refuses_is_an_outage_but_not_at_start(server: MariaDB) -> None:
    url = server.url.replace("root@", "nobody:wrong@")
    with pytest.raises(ConfigError, match="cannot use the database"):
        migration.require_current(opened(url))
    with pytest.raises(DatabaseUnavailable):
        opened(url).read(one)


@pytest.mark.parametrize(
    ("user", "said", "cause"),
    [
        ("root:bad@127.0.0.1", "refuses this service", r"Access denied for user .* \(1045\)"),
        ("root@127.0.0.1:9", "is away", r"Connection refused.* \(2003\)"),
    ],
)
def test_the_log_says_which_database_and_why(user: str, said: str, cause: str) -> None:
    database = opened(f"mysql+pymysql://{user}/lab?charset=utf8mb4")
    with pytest.raises(DatabaseUnavailable, match=f"^the database {said}$") as raised:
        database.read(lambda c: c.exec_driver_sql("SELECT 1"))
    where = r"mysql\+pymysql://root(:\*\*\*)?@127.0.0.1:(9|3306)/lab: "
    assert re.match(where + f".*{cause}$", str(raised.value.__cause__))
    assert "bad" not in str(raised.value.__cause__)


@pytest.mark.parametrize("begin", ["mysql", "mariadb", "mysql+mysqldb", "mariadb+mysqldb"])
def test_another_driver_is_refused(begin: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"begins with {re.escape(begin)}://.* mysql\+pymysql://"
    ):
        opened(f"{begin}://root@127.0.0.1/lab")


def test_a_node_that_was_cut_off_from_its_cluster_is_left(database: Database) -> None:
    if database.engine().dialect.name == "sqlite":
        pytest.skip("SQLite has no cluster")
    used = []

    def refused(connection: Connection) -> None:
        used.append(connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())
        connection.exec_driver_sql(
            "SIGNAL SQLSTATE '08S01' SET MYSQL_ERRNO = 1047,"
            " MESSAGE_TEXT = 'WSREP has not yet prepared node for application use'"
        )

    with pytest.raises(DatabaseUnavailable, match="the database is away"):
        database.read(refused)
    assert len(set(used)) == len(used) > 1
