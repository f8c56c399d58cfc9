"""Why a case waits, for whoever asks for it: its place, and what keeps hosts from taking it."""

from __future__ import annotations

import datetime
from typing import Any

from oslo_config import cfg

from labapi.api.access import Policy
from labapi.api.request import Request
from labapi.api.views import slaves as views
from labapi.api.where import Where
from labapi.db import host_use, queue, waiting
from labapi.db.session import Database, Record
from labapi.scheduler import fair
from labapi.scheduler.host_state import HostState
from labapi.scheduler.requests import Requests


class Why:
    """Explains cases that wait; it costs nothing for others.

    :param conf: configuration with the group ``[scheduler]``
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        policy: Policy,
        where: Where,
    ) -> None:
        self._ahead: int = conf.scheduler.dispatch_ahead
        self._rules = fair.rules(conf)
        self._database = database
        self._policy = policy
        self._where = where

    def of(self, request: Request, case: Record) -> dict[str, Any]:
        """Return what a case waits for: ``place, turned_away, nearest``.

        Of hosts that this client may not see, and of cases of projects that the caller may not see,
        nothing is named.

        :param case: a row; it is queued
        """
        ahead = 0 if case.host is None else self._ahead
        asked = Requests(self._database, [case]).of(case, ahead)
        named = None if case.host is None else [case.host]
        found = self._where.explain(request.environ, asked, named)
        nearest = None if found.nearest is None or found.hosts else found.nearest
        return {
            "place": self._place(case),
            "turned_away": found.turned_away,
            "nearest": None
            if nearest is None
            else {
                "host": nearest.host,
                "lacks": found.lacks,
                **self._busy(request, nearest),
            },
        }

    def _place(self, case: Record) -> int | None:
        """Return how many are before it, and itself; None if they are too many to be counted."""
        waits = self._database.read(waiting.queue, case.host)
        usage = self._database.read(queue.usage)
        now = datetime.datetime.now(datetime.UTC)
        ordered = fair.order(waits, usage, now, self._rules)
        return next((at for at, one in enumerate(ordered, 1) if one.id == case.id), None)

    def _busy(self, request: Request, host: HostState) -> dict[str, Any]:
        """Return what runs on a host, and by when at the latest some of it has ended."""
        rows = self._database.read(host_use.running, [host.host]).get(host.host, ())
        context = request.context
        caller = views.Caller(
            context.project_id, self._policy.allows(context, "slaves:show_all_projects")
        )
        running = [views.running(row, caller) for row in rows]
        ends = [case["until"] for case in running if case["until"] is not None]
        return {"busy_with": running, "until": min(ends, default=None)}
