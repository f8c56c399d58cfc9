"""Rows changed together, on SQLite and MariaDB: each has exactly what an UPDATE by itself gives."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, insert, select, update

from labapi.db.changes import TOGETHER, Changes
from labapi.db.models import TestCase
from labapi.db.session import Database
from tests.unit.db.test_batches import row

COLUMNS = (
    *("state", "result", "reason", "detail", "exit_code", "data", "attempt", "timeout"),
    *("rerun_on_loss", "started_at", "finished_at", "output_size", "tried_hosts"),
)
ROWS = 4
_CASES = Changes(TestCase)

_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=64)
_WORD = st.text(st.characters(exclude_categories=("Cs",)), max_size=16)
_TIME = st.datetimes(
    datetime.datetime(1970, 1, 2), datetime.datetime(9999, 12, 30), timezones=st.just(datetime.UTC)
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)
_VALUES = {
    "state": _WORD,
    "result": st.none() | _WORD,
    "reason": st.none() | _TEXT,
    "detail": st.none() | _TEXT | st.text("%?:'\"\\\0\n", max_size=9),
    "exit_code": st.none() | st.integers(-(2**31), 2**31 - 1),
    "data": _JSON,
    "attempt": st.none() | _TEXT,
    "timeout": st.floats(-1e300, 1e300),
    "rerun_on_loss": st.booleans(),
    "started_at": st.none() | _TIME,
    "finished_at": st.none() | _TIME,
    "output_size": st.integers(0, 2**62),
    "tried_hosts": st.none() | st.lists(_TEXT, max_size=3),
}
# A few values for each column, so that some are the same in all rows and some are not.
_ROWS = st.lists(
    st.fixed_dictionaries({}, optional=_VALUES), min_size=ROWS, max_size=ROWS
) | st.fixed_dictionaries({}, optional=_VALUES).map(lambda one: [one] * ROWS)


@pytest.fixture
def cases(database: Database) -> list[int]:
    made = [row(detail="before", exit_code=7, data={"as": "before"}) for _ in range(ROWS)]

    def add(connection: Connection) -> list[int]:
        connection.execute(insert(TestCase), made)
        uuids = [one["uuid"] for one in made]
        found = select(TestCase.id).where(TestCase.uuid.in_(uuids)).order_by(TestCase.id)
        return list(connection.execute(found).scalars())

    return database.write(add)


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Return what goes to databases."""
    heard: list[str] = []

    def hear(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        heard.append(statement)

    event.listen(sqlalchemy.Engine, "before_cursor_execute", hear)
    yield heard
    event.remove(sqlalchemy.Engine, "before_cursor_execute", hear)


def read(connection: Connection, cases: list[int]) -> list[dict[str, Any]]:
    columns = [getattr(TestCase, name) for name in COLUMNS]
    found = select(*columns).where(TestCase.id.in_(cases)).order_by(TestCase.id)
    return [dict(one._mapping) for one in connection.execute(found)]


def set_to(connection: Connection, cases: list[int], rows: list[dict[str, Any]]) -> None:
    """Do the same as ``Changes``, row by row, with statements of SQLAlchemy's."""
    for case, columns in zip(cases, rows, strict=True):
        if columns:
            connection.execute(update(TestCase).where(TestCase.id == case).values(columns))


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(start=_ROWS, rows=_ROWS)
def test_each_row_has_what_it_was_given(
    database: Database, cases: list[int], start: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> None:
    def one_by_one(connection: Connection) -> list[dict[str, Any]]:
        set_to(connection, cases, start)
        set_to(connection, cases, rows)
        return read(connection, cases)

    def together(connection: Connection) -> list[dict[str, Any]]:
        set_to(connection, cases, start)
        _CASES.make(connection, dict(zip(cases, rows, strict=True)))
        return read(connection, cases)

    assert database.write(together) == database.write(one_by_one)


@pytest.mark.parametrize("count", [1, ROWS])
def test_it_is_one_statement(
    database: Database, cases: list[int], statements: list[str], count: int
) -> None:
    rows = {case: {"state": "finished", "exit_code": case} for case in cases[:count]}
    rows[cases[0]] = {"state": "finished", "detail": "other columns"}
    database.write(_CASES.make, rows)
    assert [s[:16] for s in statements if not s.startswith("BEGIN")] == ["UPDATE testcases"]


def test_nothing_is_no_statement(
    database: Database, cases: list[int], statements: list[str]
) -> None:
    database.write(_CASES.make, {})
    database.write(_CASES.make, {cases[0]: {}})
    assert [s for s in statements if not s.startswith("BEGIN")] == []


def test_a_statement_has_so_many_rows_at_most(
    database: Database, cases: list[int], statements: list[str]
) -> None:
    nobody = range(10**9, 10**9 + TOGETHER)
    rows = {case: {"exit_code": case} for case in (*nobody, *cases)}
    database.write(_CASES.make, rows)
    assert len([s for s in statements if s.startswith("UPDATE")]) == 2
    assert [one["exit_code"] for one in database.read(read, cases)] == cases
