"""Queries about the output of cases, kept in pieces by offset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.dialects import mysql, sqlite

from labapi.db.models import OutputChunk
from labapi.db.session import Record

# The case's row id, the offset, and the bytes from there on.
Chunk = tuple[int, int, bytes]

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


_SPANS = (
    select(OutputChunk.offset, (OutputChunk.offset + func.length(OutputChunk.data)).label("end"))
    .where(
        _OF_CASE,
        OutputChunk.offset >= func.coalesce(_HOLDER, 0),
        OutputChunk.offset < bindparam("end"),
    )
    .order_by(OutputChunk.offset)
)


def missing(connection: Connection, piece: Chunk, beside: Iterable[Chunk] = ()) -> Iterator[Chunk]:
    """Yield the parts of a piece that are not kept yet, so that no byte is kept twice.

    :param beside: pieces that are about to be kept
    """
    case, at, data = piece
    start, end = at, at + len(data)
    kept = [
        (offset, stop)
        for offset, stop in connection.execute(_SPANS, {"case": case, "offset": at, "end": end})
    ]
    kept += [(offset, offset + len(more)) for other, offset, more in beside if other == case]
    for offset, stop in sorted(kept):
        if at < offset:
            yield case, at, data[at - start : min(offset, end) - start]
        at = max(at, stop)
        if at >= end:
            return
    yield case, at, data[at - start :]


def add(connection: Connection, chunks: Sequence[Chunk]) -> None:
    """Keep pieces; one that is there already stays."""
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
