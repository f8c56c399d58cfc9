"""Reading output to its end, over as many connections as it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from labapi_client.exceptions import BadAnswer, ConnectionFailed, LabError, TimedOut, Unavailable
from labapi_client.output import FINISHED, Again, Early, End, Event, Piece, events
from labapi_client.retries import PAUSE

if TYPE_CHECKING:
    from labapi_client.lab import Lab

PATIENCE = 120.0  # seconds without a word of the lab after which it is given up
SLACK = 1.0  # seconds that a reader with a deadline may be late
MIN_SILENCE = 0.05  # seconds that a connection may be silent at the least
EVENTS = "text/event-stream"


class _Following:
    """One reading of one case's output.

    It goes on after the last event that came whole.
    """

    def __init__(self, lab: Lab, path: str, offset: int, follow: bool, until: float | None) -> None:
        self._lab = lab
        self._path = path
        self._offset = offset
        self._follow = follow
        self._until = until
        self._place: str | None = None
        self._heard = time.monotonic()
        self._failure: LabError = ConnectionFailed("the output ended before its case")
        self._came = False
        self._ended = False

    def events(self) -> Iterator[Event]:
        while not self._ended:
            self._came = False
            pause = PAUSE
            try:
                yield from self._connection()
            except (ConnectionFailed, Unavailable) as error:
                self._failure = error
                pause = wanted_pause(error) or PAUSE
            if self._ended:
                return
            left = self._check(pause)
            if not self._came:
                time.sleep(min(pause, left))

    def _check(self, pause: float) -> float:
        """Check that it is worth another connection after a pause; return the seconds left."""
        now = time.monotonic()
        if self._until is not None and now >= self._until:
            raise TimedOut("the case is not finished in the time that it was given")
        if now + pause - self._heard > PATIENCE:
            raise self._failure
        return math.inf if self._until is None else self._until - now

    def _connection(self) -> Iterator[Event]:
        """Yield the pieces that come over one connection."""
        query = {"follow": "true" if self._follow else None}
        headers = {"Accept": EVENTS}
        if self._place is not None:
            headers["Last-Event-ID"] = self._place
        elif self._offset:
            query["offset"] = str(self._offset)
        silence = self._silence()
        with self._lab.stream(self._path, query=query, headers=headers, timeout=silence) as stream:
            if stream.kind != EVENTS:
                raise BadAnswer("what answers is no output of a case; is this the URL of a lab?")
            for place, event in events(iter(stream)):
                self._heard = time.monotonic()
                self._place = place or self._place
                if isinstance(event, Piece | Again):
                    self._came = True
                    yield event
                elif isinstance(event, End) and (event.state == FINISHED or not self._follow):
                    self._ended = True
                    yield event
                    return
                elif isinstance(event, Early | End):
                    return
                if self._silence() < max(silence - SLACK, 2 * MIN_SILENCE):
                    return  # it could be silent for longer than there is time

    def _silence(self) -> float:
        """Return the seconds that a connection may be silent."""
        if self._until is None:
            return self._lab.timeout
        return max(MIN_SILENCE, min(self._lab.timeout, self._until - time.monotonic()))


def wanted_pause(error: LabError) -> float:
    """Return the seconds for which the lab wants to be left alone (``Retry-After``)."""
    return getattr(error, "retry_after", None) or 0.0


def follow_events(
    lab: Lab, path: str, offset: int, follow: bool, timeout: float | None
) -> Iterator[Event]:
    """Yield the pieces of an output, where it begins anew, and its end.

    :param path: of the output, below the URL of the API
    :param offset: bytes that are passed over
    :param follow: go on until the case is finished
    :param timeout: seconds after which it is not read any more
    :raises TimedOut: they are over
    :raises ConnectionFailed: the lab was away for longer than ``PATIENCE``
    """
    until = None if timeout is None else time.monotonic() + timeout
    return _Following(lab, path, offset, follow, until).events()
