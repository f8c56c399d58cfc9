"""``/slaves``: the lab's machines."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import webob
from oslo_config import cfg

from labapi.api import host_guard, lookup, pagination
from labapi.api.access import READER, Policy, rule
from labapi.api.controllers import Controller
from labapi.api.request import Request, json_object_stream, json_response
from labapi.api.views import slaves as views
from labapi.db import hosts
from labapi.db.session import Database, Record
from labapi.exceptions import InvalidInput, NotFound
from labapi.servicegroup import driver

View = Callable[[Record], dict[str, Any]]

BATCH = 200  # rows read at a time while a collection is written


class Slaves(Controller):
    """The controller of hosts."""

    RULES = (
        rule(
            "slaves:show",
            READER,
            "See hosts and their catalogues.",
            "GET /v2.1/slaves",
            "GET /v2.1/slaves/detail",
            "GET /v2.1/slaves/{slave_id}",
            "GET /v2.1/slaves/{slave_id}/metadata",
            "GET /v2.1/slaves/{slave_id}/metadata/{key}",
        ),
    )

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        policy: Policy,
        liveness: driver.Liveness,
    ) -> None:
        self._conf = conf
        self._liveness = liveness
        self._database = database
        self._policy = policy

    def index(self, request: Request) -> webob.Response:
        """List hosts: ``{uuid: {"id", "host"}}``."""
        return self._list(request, views.brief, whole=False)

    def detail(self, request: Request) -> webob.Response:
        """List hosts with their catalogues, keyed by UUID."""
        return self._list(request, self._detail, whole=True)

    def show(self, request: Request, slave_id: str) -> webob.Response:
        """Show one host, by id or UUID."""
        request.query()
        self._policy.check(request.context, "slaves:show")
        host = lookup.slave(self._database, slave_id)
        host_guard.check(request.environ, host.meta)
        return json_response({**self._detail(host), "uuid": host.uuid})

    def _detail(self, host: Record) -> dict[str, Any]:
        now = datetime.datetime.now(datetime.UTC)
        return views.detail(host, now, self._liveness)

    def _list(self, request: Request, view: View, *, whole: bool) -> webob.Response:
        query = request.query("limit", "marker")
        self._policy.check(request.context, "slaves:show")
        limit = pagination.limit_of(query, self._conf.api.max_limit)
        after = self._after(query.get("marker"))
        # The first rows are read before the answer begins, so that an error is still an error.
        first = self._database.read(hosts.page, after=after, limit=min(limit, BATCH), whole=whole)
        if len(first) < BATCH or limit <= BATCH:
            response = json_response(dict(_shown(request, first, view)))
        else:
            rows = self._rows(first, limit, whole=whole)
            pieces = json_object_stream(_shown(request, rows, view))
            response = webob.Response(
                app_iter=pieces, content_type="application/json", charset=None
            )
        if len(first) == min(limit, BATCH):
            last = self._database.read(hosts.last_of_page, after=after, limit=limit)
            if last is not None:
                pagination.link_next(response, request, last)
        return response

    def _rows(self, first: Sequence[Record], limit: int, *, whole: bool) -> Iterator[Record]:
        rows, left = first, limit
        while rows:
            yield from rows
            left -= len(rows)
            if left <= 0:
                return
            rows = self._database.read(
                hosts.page, after=rows[-1].id, limit=min(left, BATCH), whole=whole
            )

    def _after(self, marker: str | None) -> int:
        if marker is None:
            return 0
        try:
            return int(lookup.slave(self._database, marker).id)
        except NotFound as error:
            raise InvalidInput(f"marker: {error}") from None


def _shown(request: Request, rows: Iterable[Record], view: View) -> Iterator[tuple[str, Any]]:
    return (
        (host.uuid, view(host))
        for host in rows
        if not host_guard.hidden(request.environ, host.meta)
    )
