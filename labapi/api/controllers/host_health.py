"""``/slaves/{id}/health``: administrators bench hosts, and let them have cases again."""

from __future__ import annotations

import datetime

import webob

from labapi import json_schema
from labapi.api import lookup
from labapi.api.access import ADMIN, Policy, rule
from labapi.api.controllers import Controller
from labapi.api.request import Request, json_response
from labapi.api.schemas import health as bodies
from labapi.api.views import slaves as views
from labapi.context import AUDIT
from labapi.db import health
from labapi.db.session import Database
from labapi.exceptions import InvalidInput

MAX_DEPTH = 2


class HostHealth(Controller):
    """The controller of the health of hosts."""

    RULES = (
        rule(
            "slaves:set_health",
            ADMIN,
            "Bench a host, or let it have cases again.",
            "PUT /v2.1/slaves/{slave_id}/health",
        ),
    )

    def __init__(self, database: Database, policy: Policy) -> None:
        self._database = database
        self._policy = policy

    def update(self, request: Request, slave_id: str) -> webob.Response:
        """Bench a host, with a reason, or let it have cases again."""
        request.query()
        self._policy.check(request.context, "slaves:set_health")
        body = request.json_object(MAX_DEPTH)
        json_schema.check(bodies.UPDATE, body)
        bad, reason = body["health"] == "bad", body.get("reason")
        if bad and reason is None:
            raise InvalidInput("reason: say why the host gets no more cases")
        host = lookup.slave(self._database, slave_id)
        request.environ[AUDIT].update(host=host.host, health=body["health"], reason=reason)
        if bad:
            now = datetime.datetime.now(datetime.UTC)
            by = request.context.user_id
            self._database.write(health.bench, host.host, now, reason, by)
        else:
            self._database.write(health.clear, host.host)
        return json_response(views.health(lookup.slave(self._database, slave_id)))
