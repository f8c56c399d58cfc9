"""Queries about the output of cases, kept in pieces by offset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.dialects import mysql, sqlite

from labapi.db.models import OutputChunk
from labapi.db.session import Record

_OF_CASE = OutputChunk.testcase_id == bindparam("case")
# The piece that holds the offset begins at or before it.
_HOLDER = (
    select(func.max(OutputChunk.offset))
    .where(_OF_CASE, OutputChunk.offset <= bindparam("offset"))
    .scalar_subquery()
)
_FROM = (
    select(OutputChunk.offset, OutputChunk.data)
    .where(_OF_CASE, OutputChunk.offset >= func.coalesce(_HOLDER, 0))
    .order_by(OutputChunk.offset)
    .limit(bindparam("limit"))
)


def add(connection: Connection, chunks: Sequence[tuple[int, int, bytes]]) -> None:
    """Keep pieces, ``(case's row id, offset, data)`` each; one that is there already stays."""
    rows = [
        {"testcase_id": case, "offset": offset, "data": data}
        for case, offset, data in chunks
        if data
    ]
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        statement: Any = sqlite.insert(OutputChunk).on_conflict_do_nothing()
    else:
        statement = mysql.insert(OutputChunk).prefix_with("IGNORE")
    connection.execute(statement, rows)


def read(connection: Connection, case: int, offset: int, limit: int) -> Sequence[Record]:
    """Return ``offset, data`` of at most ``limit`` pieces, from the one that holds ``offset``."""
    return connection.execute(_FROM, {"case": case, "offset": offset, "limit": limit}).all()
