"""Changing many rows by one statement.

PyMySQL sends an UPDATE for each row of an ``executemany``, and waits for its answer. Here one
statement changes all rows: a column that becomes the same in all of them is set to that, any other
according to the row's id. The end of one case takes 80 µs of a connection to MariaDB this way and
220 µs as an UPDATE of SQLAlchemy's; of sixteen together 26 and 76 µs each. Values in a table that
is joined (``JSON_TABLE``, ``UNION``) cost MariaDB 0.2 ms for the table alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine import Dialect

from labapi.db.models import Base

TOGETHER = 100  # rows of one statement: each looks for itself among them

Row = Mapping[str, Any]


class Changes:
    """Changes rows that are there, found by their ``id``.

    :param model: of the table, which has an ``id``
    """

    def __init__(self, model: type[Base]) -> None:
        self._table: str = model.__tablename__
        self._columns = model.__table__.columns
        self._binders: dict[tuple[str, str], Callable[[Any], Any] | None] = {}

    def make(self, connection: Connection, rows: Mapping[int, Row]) -> None:
        """Set columns of rows, ``{id: {column: value}}``; what is not named stays as it is."""
        ids = list(rows)
        for start in range(0, len(ids), TOGETHER):
            self._make(connection, {row: rows[row] for row in ids[start : start + TOGETHER]})

    def _make(self, connection: Connection, rows: Mapping[int, Row]) -> None:
        dialect = connection.dialect
        mark = "?" if dialect.paramstyle == "qmark" else "%s"
        when = f"WHEN {mark} THEN {mark} "
        values: list[Any] = []
        sets = []
        names: dict[str, Any] = {}
        for columns in rows.values():
            names |= columns
        for name in names:
            ids = [row for row, columns in rows.items() if name in columns]
            new = [rows[row][name] for row in ids]
            if bind := self._binder(name, dialect):
                new = list(map(bind, new))
            if new.count(new[0]) == len(rows):
                sets.append(f"{name} = {mark}")
                values.append(new[0])
            else:
                sets.append(f"{name} = CASE id {when * len(new)}ELSE {name} END")
                values += chain.from_iterable(zip(ids, new, strict=True))
        if sets:
            which = ", ".join([mark] * len(rows))
            sql = f"UPDATE {self._table} SET {', '.join(sets)} WHERE id IN ({which})"  # noqa: S608
            connection.exec_driver_sql(sql, (*values, *rows))

    def _binder(self, name: str, dialect: Dialect) -> Callable[[Any], Any] | None:
        """Return what makes the driver's value of a column's, None for nothing."""
        key = (name, dialect.name)
        if key not in self._binders:
            type_ = self._columns[name].type.dialect_impl(dialect)
            self._binders[key] = type_.bind_processor(dialect)
        return self._binders[key]
