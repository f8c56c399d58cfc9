"""``/testcases/{id}/output``: what a case wrote."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import webob
from oslo_config import cfg
from oslo_log import log

from labapi.api import lookup, parameters
from labapi.api.access import Policy
from labapi.api.backend.follow import Follower, Place, broken_off
from labapi.api.backend.output import Reader
from labapi.api.backend.waiters import Waiters
from labapi.api.controllers import Controller
from labapi.api.request import Request
from labapi.db.session import Database, Record
from labapi.exceptions import InvalidInput, LabapiError

LOG = log.getLogger(__name__)

EVENTS = "text/event-stream"

_PLACE = re.compile(r"(?:([0-9]{1,9}):)?([0-9]{1,18})", re.ASCII)


class Outputs(Controller):
    """The controller of output."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        policy: Policy,
        waiters: Waiters,
        output: Reader,
    ) -> None:
        self._conf = conf
        self._database = database
        self._policy = policy
        self._waiters = waiters
        self._output = output

    def show(self, request: Request, testcase_id: str) -> webob.Response:
        """Answer with the output as it was written, from ``?offset=`` bytes on.

        With ``?follow=true`` the answer goes on until the case ends. A client that accepts
        ``text/event-stream`` gets server-sent events.
        """
        query = request.query("offset", "follow")
        place = _place_of(request, query)
        following = parameters.flag(query, "follow")
        case = lookup.visible_testcase(self._database, self._policy, request, testcase_id)
        wants_events = EVENTS in request.headers.get("Accept", "")
        if not following and not wants_events:
            return webob.Response(
                app_iter=self._text(case, place.offset), content_type="text/plain", charset="utf-8"
            )
        sources = (self._conf, self._database, self._waiters, self._output)
        follower = Follower(*sources, request.environ, case, place, following)
        follower.begin()
        if wants_events:
            return _stream(follower.events(), EVENTS)
        return _stream(follower.text(), "text/plain")

    def _text(self, case: Record, offset: int) -> Iterator[bytes]:
        """Return the text; its beginning is read at once, so that an error is still an error."""
        pieces = self._output.text(case, offset)
        first = next(pieces, b"")
        return _guarded(itertools.chain([first], pieces))


def _guarded(pieces: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from pieces
    except LabapiError as error:
        LOG.warning("an answer with output ends early: %s", error)
        yield broken_off(str(error))


def _stream(pieces: Iterator[bytes], content_type: str) -> webob.Response:
    response = webob.Response(app_iter=pieces, content_type=content_type, charset="utf-8")
    # Proxies on the way hand on what they get when they get it (nginx: X-Accel-Buffering).
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _place_of(request: Request, query: dict[str, str]) -> Place:
    offset = parameters.size(query, "offset")
    if offset is not None:
        return Place(offset)
    last = request.headers.get("Last-Event-ID")
    if last is None:
        return Place(0)
    found = _PLACE.fullmatch(last)
    if not found:
        raise InvalidInput(f"Last-Event-ID: {last[:64]!r} is not the id of an event")
    return Place(int(found[2]), int(found[1] or 1))
