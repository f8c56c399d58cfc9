"""Inserting rows, or updating those that are there, by one statement."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import mysql, sqlite

from labapi.db.models import Base


def upsert(
    connection: Connection,
    model: type[Base],
    key: tuple[str, ...],
    rows: list[dict[str, Any]],
    keep: tuple[str, ...],
) -> None:
    """Insert rows, or update the ones whose key exists; one statement for all of them.

    :param rows: with the same columns each
    :param keep: columns that an existing row keeps
    """
    if not rows:
        return
    changed = [name for name in rows[0] if name not in key and name not in keep]
    if connection.dialect.name == "sqlite":
        insert = sqlite.insert(model)
        statement: Any = insert.on_conflict_do_update(
            index_elements=list(key), set_={name: insert.excluded[name] for name in changed}
        )
    else:
        into = mysql.insert(model)
        statement = into.on_duplicate_key_update({name: into.inserted[name] for name in changed})
    connection.execute(statement, rows)
