"""What an error of a database means, and how long it is waited for."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, exc, text

from labapi import config
from labapi.db import allowance, migration
from labapi.db.allowance import Allowance
from labapi.db.session import Database
from labapi.exceptions import ConfigError, DatabaseUnavailable
from tests.lab import MariaDB
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
    with pytest.raises(DatabaseUnavailable, match="is away") as raised:
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


def test_time_that_is_spent_elsewhere_is_not_counted(database: Database) -> None:
    with Allowance(0.5):
        time.sleep(0.6)
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
