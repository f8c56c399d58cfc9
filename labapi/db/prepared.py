"""Reading rows on the shortest way.

SQLAlchemy needs twice as long to run a statement of ten columns as to hand it to the driver. For
the few that are on the way of nearly every request, it only writes the SQL and says what the
columns mean. ``GET /v2.1/slaves/{id}`` takes 130 µs in process with this and 180 µs without;
``Connection.exec_driver_sql`` saves nothing: what it leaves out is not what takes the time.
"""

from __future__ import annotations

import functools
import logging
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, Connection, Result, Select, exc
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import ReturningInsert

from labapi.db import outage
from labapi.db.session import Record

# SQLAlchemy's own: it logs statements at this level.
_STATEMENTS = logging.getLogger("sqlalchemy.engine.Engine")


class _Plan(NamedTuple):
    """A statement as one database gets it.

    :ivar order: names of the parameters in their order, None where the driver takes names
    :ivar given: the parameters that the statement brings along
    :ivar lists: for each list the names of the parameters that it is written out as
    :ivar translated: names of other parameters, and what makes the driver's value of each
    :ivar columns: for each column what makes its value of that of the driver, None for nothing
    """

    sql: str
    order: tuple[str, ...] | None
    given: dict[str, Any]
    lists: dict[str, Sequence[str]]
    translated: tuple[tuple[str, Callable[[Any], Any]], ...]
    columns: tuple[Callable[[Any], Any] | None, ...]


class Prepared:
    """A statement that returns rows.

    :param statement: a SELECT, or a change with RETURNING
    """

    def __init__(
        self, statement: Select[*tuple[Any, ...]] | ReturningInsert[*tuple[Any, ...]]
    ) -> None:
        self._statement = statement
        names = [str(column.key) for column in statement.exported_columns]
        row: Any = namedtuple("Row", names)  # type: ignore[misc]  # known at run time only
        # As row._make does it, which is a function in Python for each row.
        self._row: Callable[[Iterable[Any]], Any] = functools.partial(tuple.__new__, row)
        # What is to be given for IN, SQLAlchemy writes out for each length anew.
        self._lists = [
            part.key
            for part in visitors.iterate(statement)
            if isinstance(part, BindParameter) and part.expanding and part.required
        ]
        self._plans: dict[str | tuple[str | int, ...], _Plan] = {}

    def one_or_none(self, connection: Connection, values: Mapping[str, Any]) -> Record | None:
        """Return the only row, or None.

        Listeners to ``before_cursor_execute``, and SQLAlchemy's log, see it like any other.
        """
        found = self._found(connection, values)
        if found is None:
            return self._usual(connection, values).one_or_none()
        plan, rows = found
        if not rows:
            return None
        columns = list(rows[0])
        for at, convert in enumerate(plan.columns):
            if convert is not None:
                columns[at] = convert(columns[at])
        row: Record = self._row(columns)
        return row

    def all(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Record]:
        """Return all rows; those with the same value of a column may share one object.

        As :meth:`one_or_none` otherwise.
        """
        found = self._found(connection, values)
        if found is None:
            return self._usual(connection, values).all()
        plan, rows = found
        if not rows:
            return []
        pairs = zip(plan.columns, zip(*rows, strict=True), strict=True)
        columns = [_converted(of, column) if of else column for of, column in pairs]
        return list(map(self._row, zip(*columns, strict=True)))

    def _usual(self, connection: Connection, values: Mapping[str, Any]) -> Result[Any]:
        return connection.execute(self._statement, values)

    def _found(
        self, connection: Connection, values: Mapping[str, Any]
    ) -> tuple[_Plan, Sequence[Sequence[Any]]] | None:
        """Return the plan and the driver's rows, None where SQLAlchemy has to be asked."""
        if connection.dispatch.before_cursor_execute or _STATEMENTS.isEnabledFor(logging.INFO):
            return None
        dialect = connection.dialect
        key: str | tuple[str | int, ...] = dialect.name
        if self._lists:
            if not all(values[name] for name in self._lists):
                return None  # how to say that nothing is in an empty list, SQLAlchemy knows
            values = {**values, **{name: _padded(values[name]) for name in self._lists}}
            key = (dialect.name, *(len(values[name]) for name in self._lists))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._plan(dialect, values)
        parameters = {**plan.given, **values}
        for name in self._lists:
            parameters.update(zip(plan.lists[name], values[name], strict=True))
        for name, translate in plan.translated:
            parameters[name] = translate(parameters[name])
        cursor = connection.connection.cursor()
        try:
            given = parameters if plan.order is None else [parameters[name] for name in plan.order]
            cursor.execute(plan.sql, given)
            return plan, cursor.fetchall()
        except dialect.loaded_dbapi.Error as error:
            again: Any = exc.DBAPIError.instance(
                plan.sql, None, error, dialect.loaded_dbapi.Error, dialect=dialect
            )
            if outage.is_worth_a_retry(again):
                # The transaction is gone, with all that it had changed: another one must not begin
                # in its middle.
                raise again from error
            # What any other error means for the connection, SQLAlchemy knows.
            return None
        finally:
            cursor.close()

    def _plan(self, dialect: Dialect, values: Mapping[str, Any]) -> _Plan:
        compiled: Any = self._statement.compile(dialect=dialect)
        # With "IN (…)" written out, which SQLAlchemy puts off until it has the values.
        written = compiled.construct_expanded_state(dict(values))
        types = [column.type.dialect_impl(dialect) for column in self._statement.exported_columns]
        translations = {**compiled._bind_processors, **written.processors}
        given = {
            name: translations[name](value) if name in translations else value
            for name, value in written.parameters.items()
        }
        lists = {
            name: names for name, names in written.parameter_expansion.items() if name in values
        }
        own = {*values, *(name for names in lists.values() for name in names)}
        return _Plan(
            sql=written.statement,
            order=tuple(written.positiontup) if written.positiontup else None,
            given=given,
            lists=lists,
            translated=tuple((name, of) for name, of in translations.items() if name in own),
            columns=tuple(of.result_processor(dialect, None) for of in types),
        )


def _padded(items: list[Any]) -> list[Any]:
    """Return a list for IN, its last item repeated: lists have few lengths that way."""
    return items + items[-1:] * ((1 << max(len(items) - 1, 0).bit_length()) - len(items))


def _converted(convert: Callable[[Any], Any], column: Sequence[Any]) -> Iterator[Any]:
    """Convert the values of a column, those that are there several times only once."""
    different = set(column)
    converted = dict(zip(different, map(convert, different), strict=True))
    return map(converted.__getitem__, column)
