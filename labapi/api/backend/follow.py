"""Output as it happens: a stream that ends when its case ends.

A follower looks for new pieces every ``[api] follow_interval``, so what it costs depends on how
many follow and not on how much all agents write; the end of the case wakes it at once.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from oslo_config import cfg
from oslo_log import log

from labapi.api import host_guard, lookup
from labapi.api.backend.output import Piece, Reader, gap
from labapi.api.backend.waiters import Waiters
from labapi.case import State
from labapi.db.session import Database, Record
from labapi.exceptions import LabapiError

LOG = log.getLogger(__name__)

SILENCE = 15.0  # seconds after which a silent stream of events shows that it is alive
# Bytes that one event brings at the most: a connection that breaks every few kilobytes, and is
# resumed after the last event that arrived whole, still gets on.
EVENT = 1024
AGAIN = b"\n[the case runs again; its output begins anew]\n"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the output of a case: what a stream that was broken off resumes at.

    :ivar offset: in bytes
    :ivar attempt: the number of the attempt that wrote it, None for whichever is there
    """

    offset: int
    attempt: int | None = None

    def __str__(self) -> str:
        """Return it as the id of an event; of a first attempt it is the offset alone."""
        return f"{self.attempt}:{self.offset}" if (self.attempt or 1) > 1 else str(self.offset)


class Again:
    """What follows is the output of another attempt, from its beginning."""


class Follower:
    """Follows one case for one client.

    :param environ: of the client's request, for a case may get a host that is guarded from it
    :param place: where to begin
    :param following: False to end with what has come so far if the case still runs
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        waiters: Waiters,
        output: Reader,
        environ: Mapping[str, Any],
        case: Record,
        place: Place,
        following: bool = True,
    ) -> None:
        self._interval: float = conf.api.follow_interval
        self._until = time.monotonic() + conf.api.max_follow
        self._database = database
        self._waiters = waiters
        self._output = output
        self._environ = environ
        self._case = case
        self._offset = place.offset
        self._attempt: int = case.attempts if place.attempt is None else place.attempt
        self._following = following
        self._whole = False
        self._steps = self._look()

    def begin(self) -> None:
        """Take the first look, so that an error is still an error.

        :raises DatabaseUnavailable: the database is away
        """
        self._steps = itertools.chain([next(self._steps, None)], self._steps)

    def text(self) -> Iterator[bytes]:
        """Yield the output as it is written."""
        try:
            for step in self._steps:
                if isinstance(step, Again):
                    yield AGAIN
                elif step is not None:
                    if step.missing:
                        yield gap(step.missing)
                    yield step.data
        except LabapiError as error:
            LOG.warning("a stream of output ends early: %s", error)
            yield broken_off(str(error), self._offset)
        else:
            if not self._ended():
                why = "the API stops" if self._waiters.ending else "it was followed for long enough"
                yield broken_off(why, self._offset)

    def events(self) -> Iterator[bytes]:
        """Yield server-sent events: ``output`` for each piece, ``end`` with the result.

        The data of ``output`` are ``{"offset", "text"}``, or ``base64`` in place of ``text`` where
        the bytes are not UTF-8, and ``missing`` where bytes before them are. An event's id is the
        place after it: ``Last-Event-ID`` resumes there. ``again`` says that the case runs again
        and its output begins anew, ``error`` that the stream ends early.
        """
        heard = time.monotonic()
        try:
            for step in self._steps:
                if step is not None:
                    heard = time.monotonic()
                    yield self._event(step)
                elif time.monotonic() - heard > SILENCE:
                    heard = time.monotonic()
                    yield b": still running\n\n"
        except LabapiError as error:
            LOG.warning("a stream of output ends early: %s", error)
            yield _event("error", {"message": str(error)})
        else:
            yield _event("end", self._end())

    def _look(self) -> Iterator[Piece | Again | None]:
        """Yield pieces as they come, and None after each look."""
        while True:
            yield from self._anew()
            yield from self._new()
            if self._enough() or self._waiters.ending or time.monotonic() > self._until:
                return
            yield None
            self._waiters.wait(self._case.uuid, self._interval)
            self._case = lookup.testcase(self._database, self._case.uuid)
            host_guard.check_case(self._environ, self._case)

    def _anew(self) -> Iterator[Again]:
        """Go back to the beginning if the case runs again; what it had written is gone."""
        if self._case.attempts > self._attempt:
            self._attempt = self._case.attempts
            if self._offset:
                self._offset = 0
                yield Again()

    def _new(self) -> Iterator[Piece]:
        """Yield the pieces that have come since the last look, as far as none is missing."""
        self._whole = False
        for piece in self._output.kept(self._case, self._offset):
            if piece.missing and self._output.may_come(self._case, piece):
                return
            self._offset = piece.end
            yield piece
        self._whole = True

    def _enough(self) -> bool:
        """Say whether this client is not given any more."""
        running = self._case.state != State.FINISHED
        return (running and not self._following) or self._ended()

    def _ended(self) -> bool:
        """Say whether the case has ended and all of its output was read."""
        return self._case.state == State.FINISHED and self._whole

    def _event(self, step: Piece | Again) -> bytes:
        place = Place(self._offset, self._attempt)
        if isinstance(step, Again):
            return _event("again", {"attempt": self._attempt}, place)
        return b"".join(
            _event("output", _described(part), Place(part.end, self._attempt))
            for part in _parts(step)
        )

    def _end(self) -> dict[str, Any]:
        case = self._case
        if case.state == State.FINISHED and not self._whole:
            # Its output is still on its way, so for this reader it is not finished.
            return {"state": State.RUNNING, "result": None, "reason": None}
        return {"state": case.state, "result": case.result, "reason": case.reason}


def broken_off(why: str, offset: int | None = None) -> bytes:
    """Return the last line of a text that ends before its case does.

    :param why: a sentence without its full stop
    :param offset: in bytes, where it would have gone on
    """
    rest = "" if offset is None else f" from offset {offset} on"
    return f"\n[this text ends early, ask for the rest{rest}: {why}]\n".encode()


def _parts(piece: Piece) -> Iterator[Piece]:
    """Yield a piece in parts that fit into an event; none ends within a character of UTF-8."""
    begin, data = 0, piece.data
    while True:
        end = begin + EVENT
        while end < len(data) and end > begin + EVENT - 4 and data[end] & 0xC0 == 0x80:
            end -= 1
        yield Piece(piece.offset + begin, data[begin:end], piece.missing if begin == 0 else 0)
        begin = end
        if begin >= len(data):
            return


def _described(piece: Piece) -> dict[str, Any]:
    """Return what an event says of a piece.

    Bytes that are no text are base64; so is text of mostly control characters, each of which would
    take six bytes.
    """
    described: dict[str, Any] = {"offset": piece.offset}
    if piece.missing:
        described["missing"] = piece.missing
    with contextlib.suppress(UnicodeDecodeError):
        text = piece.data.decode("utf-8")
        if len(json.dumps(text, ensure_ascii=False).encode()) <= 2 * len(piece.data) + 2:
            return {**described, "text": text}
    return {**described, "base64": base64.b64encode(piece.data).decode()}


def _event(name: str, data: dict[str, Any], place: Place | None = None) -> bytes:
    where = f"id: {place}\n" if place is not None else ""
    return f"event: {name}\n{where}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
