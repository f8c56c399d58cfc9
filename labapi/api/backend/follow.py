"""Output as it happens: a stream that ends when its case ends.

A follower looks for new pieces every ``[api] follow_interval``, so what it costs depends on how
many follow and not on how much all agents write; the end of the case wakes it at once. Where a
piece is missing it waits a moment, for pieces may overtake one another, and then says so.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from oslo_config import cfg

from labapi.api import lookup
from labapi.api.backend.waiters import Waiters
from labapi.case import State
from labapi.db import outputs
from labapi.db.session import Database, Record

BATCH = 16  # pieces read at a time
PATIENCE = 3.0  # seconds to wait for a missing piece
SILENCE = 15.0  # seconds after which a silent stream of events shows that it is alive


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


def kept(database: Database, case: Record, offset: int) -> Iterator[Piece]:
    """Yield what is kept of a case's output from ``offset`` on, in its order."""
    # How much was written is known of a case whose end an agent has reported; those that ended
    # otherwise have a reason. Where it is nothing, nothing is looked for.
    reported = case.state == State.FINISHED and case.reason is None
    more = not reported or case.output_size > offset
    while more:
        rows = database.read(outputs.read, case.id, offset, BATCH)
        before = offset
        for row in rows:
            start, end = max(offset, row.offset), row.offset + len(row.data)
            if end > offset:
                yield Piece(start, row.data[start - row.offset :], start - offset)
                offset = end
        more = offset > before and len(rows) == BATCH
    if offset < case.output_size:
        yield Piece(case.output_size, b"", case.output_size - offset)


class Follower:
    """Follows one case for one client.

    :param offset: in bytes, where to begin
    """

    def __init__(
        self, conf: cfg.ConfigOpts, database: Database, waiters: Waiters, case: Record, offset: int
    ) -> None:
        self._interval: float = conf.api.follow_interval
        self._until = time.monotonic() + conf.api.max_follow
        self._database = database
        self._waiters = waiters
        self._case = case
        self._offset = offset
        self._stuck_since: float | None = None

    def text(self) -> Iterator[bytes]:
        """Yield the output as it is written."""
        for piece in self._pieces():
            if piece is not None:
                if piece.missing:
                    yield gap(piece.missing)
                yield piece.data

    def events(self) -> Iterator[bytes]:
        """Yield server-sent events: ``output`` for each piece, ``end`` with the result.

        The data of ``output`` are ``{"offset", "text"}``, or ``base64`` in place of ``text`` where
        the bytes are not UTF-8, and ``missing`` where bytes before them are. An event's id is the
        offset after it: ``Last-Event-ID`` resumes there.
        """
        heard = time.monotonic()
        for piece in self._pieces():
            if piece is not None:
                heard = time.monotonic()
                yield _event("output", _described(piece), piece.offset + len(piece.data))
            elif time.monotonic() - heard > SILENCE:
                heard = time.monotonic()
                yield b": still running\n\n"
        case = self._case
        yield _event("end", {"state": case.state, "result": case.result, "reason": case.reason})

    def _pieces(self) -> Iterator[Piece | None]:
        """Yield pieces as they come, and None whenever there was nothing to yield for a while."""
        while True:
            finished = self._case.state == State.FINISHED
            for piece in kept(self._database, self._case, self._offset):
                if piece.missing and not finished and self._may_come():
                    break
                self._stuck_since = None
                self._offset = piece.offset + len(piece.data)
                yield piece
            if finished or self._waiters.ending or time.monotonic() > self._until:
                return
            ended = self._waiters.wait(self._case.uuid, self._interval)
            self._case = lookup.testcase(self._database, self._case.uuid)
            if not ended:
                yield None

    def _may_come(self) -> bool:
        """Say whether it is too early to call a piece missing."""
        if self._stuck_since is None:
            self._stuck_since = time.monotonic()
        return time.monotonic() - self._stuck_since < PATIENCE


def _described(piece: Piece) -> dict[str, Any]:
    described: dict[str, Any] = {"offset": piece.offset}
    if piece.missing:
        described["missing"] = piece.missing
    try:
        return {**described, "text": piece.data.decode("utf-8")}
    except UnicodeDecodeError:
        return {**described, "base64": base64.b64encode(piece.data).decode()}


def _event(name: str, data: dict[str, Any], number: int | None = None) -> bytes:
    where = f"id: {number}\n" if number is not None else ""
    return f"event: {name}\n{where}data: {json.dumps(data)}\n\n".encode()
