"""Inserting rows, or updating those that are there, by one statement."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func
from sqlalchemy.dialects import mysql, sqlite

from labapi.db.models import Base


def upsert(
    connection: Connection,
    model: type[Base],
    key: tuple[str, ...],
    rows: list[dict[str, Any]],
    keep: tuple[str, ...],
    same: str | None = None,
) -> None:
    """Insert rows, or update the ones whose key exists; one statement for all of them.

    :param rows: with the same columns each
    :param keep: columns that an existing row keeps
    :param same: a column; an existing row that has another value there stays as it is
    """
    if not rows:
        return
    changed = [name for name in rows[0] if name not in key and name not in keep]
    columns = model.__table__.columns
    if connection.dialect.name == "sqlite":
        insert = sqlite.insert(model)
        statement: Any = insert.on_conflict_do_update(
            index_elements=list(key),
            set_={name: insert.excluded[name] for name in changed},
            where=None if same is None else columns[same] == insert.excluded[same],
        )
    else:
        into = mysql.insert(model)
        values: dict[str, Any] = {name: into.inserted[name] for name in changed}
        if same is not None:
            alike = columns[same] == into.inserted[same]
            values = {name: func.if_(alike, new, columns[name]) for name, new in values.items()}
        statement = into.on_duplicate_key_update(values)
    connection.execute(statement, rows)
