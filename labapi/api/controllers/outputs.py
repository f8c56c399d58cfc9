"""``/testcases/{id}/output``: what a case wrote."""

from __future__ import annotations

from collections.abc import Iterator

import webob
from oslo_config import cfg

from labapi.api import lookup
from labapi.api.access import Policy
from labapi.api.backend import follow
from labapi.api.backend.waiters import Waiters
from labapi.api.controllers import Controller
from labapi.api.request import Request
from labapi.db.session import Database, Record
from labapi.exceptions import InvalidInput

EVENTS = "text/event-stream"


class Outputs(Controller):
    """The controller of output."""

    def __init__(
        self, conf: cfg.ConfigOpts, database: Database, policy: Policy, waiters: Waiters
    ) -> None:
        self._conf = conf
        self._database = database
        self._policy = policy
        self._waiters = waiters

    def show(self, request: Request, testcase_id: str) -> webob.Response:
        """Answer with the output as it was written, from ``?offset=`` bytes on.

        With ``?follow=true`` the answer goes on until the case ends, as server-sent events for who
        asks for ``text/event-stream``.
        """
        query = request.query("offset", "follow")
        offset = _offset_of(request, query)
        following = _follow_of(query)
        case = lookup.visible_testcase(self._database, self._policy, request.context, testcase_id)
        if not following:
            return webob.Response(
                app_iter=text(self._database, case, offset),
                content_type="text/plain",
                charset="utf-8",
            )
        follower = follow.Follower(self._conf, self._database, self._waiters, case, offset)
        if EVENTS in request.headers.get("Accept", ""):
            return _stream(follower.events(), EVENTS)
        return _stream(follower.text(), "text/plain")


def text(
    database: Database, case: Record, offset: int, enough: int | None = None
) -> Iterator[bytes]:
    """Yield a case's output in its order; a gap is marked where it is.

    :param offset: in bytes, where to begin
    :param enough: stop when more bytes than this have been yielded
    """
    given = 0
    for piece in follow.kept(database, case, offset):
        if piece.missing:
            yield follow.gap(piece.missing)
        yield piece.data
        given += len(piece.data)
        if enough is not None and given > enough:
            return


def _stream(pieces: Iterator[bytes], content_type: str) -> webob.Response:
    response = webob.Response(app_iter=pieces, content_type=content_type, charset="utf-8")
    # Proxies on the way hand on what they get when they get it (nginx: X-Accel-Buffering).
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _offset_of(request: Request, query: dict[str, str]) -> int:
    given = query.get("offset", request.headers.get("Last-Event-ID", "0"))
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        raise InvalidInput(f"offset: {given[:64]!r} is not a number of bytes")
    return int(given)


def _follow_of(query: dict[str, str]) -> bool:
    word = query.get("follow", "false")
    if word not in ("true", "false"):
        raise InvalidInput(f"follow: {word[:64]!r} is neither true nor false")
    return word == "true"
