"""What the list of cases looks at: with any filter, no more rows than it shows and a few."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from bench.stored import add_cases
from labapi.case import Result, State
from labapi.db import testcases
from labapi.db.session import Database
from tests.unit.db.test_testcases import add

CASES = 20_000
FEW = 500  # far fewer than cases, more than a page's
LIMIT = 20

NOTHING = "what no case has"
FILTERS: dict[str, tuple[Any, ...]] = {
    "state": (State.QUEUED, State.RUNNING, State.CANCELLING, State.FINISHED),
    "result": (Result.PASS, Result.FAIL, Result.CANCELLED),
    "host": ("bench-7", NOTHING),
    "plugin": ("linux_system", NOTHING),
    "method": ("run_shell", NOTHING),
    "project_id": ("p1", NOTHING),
}
NOW = datetime.datetime.now(datetime.UTC)
SINCE = (None, NOW - datetime.timedelta(days=365), NOW + datetime.timedelta(days=1))
ONE = [{name: value} for name, values in FILTERS.items() for value in values]
# Callers that are no admins have their project in every question.
TWO = [{"project_id": "p1", **one} for one in ONE if "project_id" not in one]


@pytest.fixture(scope="module")
def filled(database: Database) -> Database:
    """A database with many finished cases, and some that are not."""
    add_cases(database, CASES, 50)
    for number in range(5):
        add(database, "bench-7", created_at=NOW, state=State.RUNNING, project_id=f"p{number}")
    if database.url.get_backend_name() != "sqlite":
        # What the server does by itself, sooner or later.
        database.read(lambda c: c.exec_driver_sql("ANALYZE TABLE testcases").all())
    return database


def looked_at(connection: Connection, work: Callable[[], Any]) -> int:
    """Return how many rows (MariaDB) or, at most, instructions by the hundred (SQLite) it takes."""
    if connection.dialect.name != "sqlite":
        before = _handler_reads(connection)
        work()
        return _handler_reads(connection) - before
    count = itertools.count()
    driver: Any = connection.connection.dbapi_connection
    driver.set_progress_handler(lambda: next(count) and None, 100)
    work()
    driver.set_progress_handler(None, 0)
    return next(count)


def _handler_reads(connection: Connection) -> int:
    rows = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_read%%'")
    return sum(int(row[1]) for row in rows)


@pytest.mark.parametrize("since", SINCE, ids=["always", "since a year", "since tomorrow"])
@pytest.mark.parametrize("before", [None, CASES // 2], ids=["first page", "later page"])
def test_no_filter_looks_at_more_than_it_shows(
    filled: Database, since: datetime.datetime | None, before: int | None
) -> None:
    def measure(connection: Connection, filters: dict[str, Any]) -> int:
        def page() -> None:
            testcases.page(connection, filters, since=since, before=before, limit=LIMIT)

        return looked_at(connection, page)

    for filters in ({}, *ONE, *TWO):
        assert filled.read(measure, filters) < FEW, filters


def test_since_finds_what_an_api_with_another_clock_made(database: Database) -> None:
    """Two clocks, a minute apart: the later id has the earlier time."""
    minute = datetime.timedelta(minutes=1)
    project = f"clocks-{datetime.datetime.now(datetime.UTC).isoformat()}"
    moment = NOW + datetime.timedelta(days=2)
    stamps = (moment, moment - minute, moment + minute, moment)
    made = [add(database, "bench-7", created_at=at, project_id=project) for at in stamps]
    for since, expected in (
        (moment - minute, made),
        (moment, [made[0], made[2], made[3]]),
        (moment + minute, [made[2]]),
        (moment + 2 * minute, []),
    ):
        rows, _ = database.read(
            testcases.page, {"project_id": project}, since=since, before=None, limit=LIMIT
        )
        assert [row.uuid for row in rows] == expected[::-1]
