"""Reading what cases wrote, in its order and with its gaps marked.

The end of a case and a piece of its output may reach the database through different conductors, so
that the end comes first. With the end comes how much the agent has sent; a finished case whose
pieces are not all there yet is not finished for a reader.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from oslo_config import cfg

from labapi.api.backend.waiters import Waiters
from labapi.case import State
from labapi.db import outputs
from labapi.db.session import Database, Record
from labapi.exceptions import Unavailable

BATCH = 16  # pieces read at a time
LOOK = 0.1  # seconds between looks for a piece that is on its way
REMEMBERED = 10_000  # gaps whose first sight is remembered


class OutputOnItsWay(Unavailable):
    """Output of a finished case has not arrived, and the reader cannot wait any longer."""


def gap(size: int) -> bytes:
    """Return what stands in a text where bytes are missing."""
    return f"\n[{size} bytes of output are missing here]\n".encode()


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a case's output.

    :ivar offset: of the first one
    :ivar missing: how many bytes before it are missing
    """

    offset: int
    data: bytes
    missing: int = 0

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.offset + len(self.data)


class Reader:
    """Reads the output of cases.

    What is missing is waited for until this process has missed it for ``[api] output_patience``
    seconds; from then on it counts as lost and is shown as a gap.
    """

    def __init__(self, conf: cfg.ConfigOpts, database: Database, waiters: Waiters) -> None:
        self._patience: float = conf.api.output_patience
        self._database = database
        self._waiters = waiters
        self._missed_since: dict[tuple[int, int, int], float] = {}

    def text(
        self,
        case: Record,
        offset: int = 0,
        *,
        enough: int | None = None,
        until: float | None = None,
    ) -> Iterator[bytes]:
        """Yield the output; a gap is marked where it is.

        Of a case that still runs it is what has come so far without a gap.

        :param offset: in bytes, where to begin
        :param enough: stop when more bytes than this have been yielded
        :param until: monotonic time after which to wait no longer for what is on its way
        :raises OutputOnItsWay: that time is over, or this process stops
        """
        given = 0
        for piece in self._pieces(case, offset, until):
            if piece.missing:
                yield gap(piece.missing)
            yield piece.data
            given += len(piece.data)
            if enough is not None and given > enough:
                return

    def kept(self, case: Record, offset: int) -> Iterator[Piece]:
        """Yield what is kept of a case's output from ``offset`` on, in its order."""
        # How much was written is known of a case whose end an agent has reported. Where it is
        # nothing, nothing is looked for.
        more = case.output_sent is None or case.output_size > offset
        while more:
            rows = self._database.read(outputs.read, case.id, offset, BATCH)
            before = offset
            for row in rows:
                start, end = max(offset, row.offset), row.offset + len(row.data)
                if end > offset:
                    yield Piece(start, row.data[start - row.offset :], start - offset)
                    offset = end
            more = offset > before and len(rows) == BATCH
        if offset < case.output_size:
            yield Piece(case.output_size, b"", case.output_size - offset)

    def may_come(self, case: Record, piece: Piece) -> bool:
        """Say whether what is missing before a piece may be on its way."""
        begin = piece.offset - piece.missing
        finished = case.state == State.FINISHED
        if finished and (case.output_sent is None or begin >= case.output_sent):
            return False  # nobody has sent it
        # All that a finished case lacks is missed together.
        key = (case.id, case.attempts, -1 if finished else begin)
        now = time.monotonic()
        since = self._missed_since.setdefault(key, now)
        for oldest in list(self._missed_since)[:-REMEMBERED]:
            self._missed_since.pop(oldest, None)
        return now - since < self._patience

    def _pieces(self, case: Record, offset: int, until: float | None) -> Iterator[Piece]:
        while True:
            for piece in self.kept(case, offset):
                if piece.missing and self.may_come(case, piece):
                    break
                offset = piece.end
                yield piece
            else:
                return
            if case.state != State.FINISHED:
                return
            if self._waiters.ending or (until is not None and time.monotonic() > until):
                raise OutputOnItsWay("output of this case is still on its way")
            self._waiters.wait(case.uuid, LOOK)
