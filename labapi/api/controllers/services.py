"""``/services``: the programs of the lab, and whether they are up."""

from __future__ import annotations

import datetime
from typing import Any

import webob

from labapi import json_schema
from labapi.api import lookup
from labapi.api.access import ADMIN, Policy, rule
from labapi.api.controllers import Controller
from labapi.api.request import Request, json_response
from labapi.api.schemas import services as bodies
from labapi.api.views import services as views
from labapi.db import services
from labapi.db.services import AGENT
from labapi.db.session import Database, Record
from labapi.exceptions import InvalidInput
from labapi.servicegroup.driver import Liveness

MAX_DEPTH = 2


class Services(Controller):
    """The controller of services."""

    RULES = (
        rule("services:show", ADMIN, "See services.", "GET /v2.1/services"),
        rule(
            "services:update",
            ADMIN,
            "Say whether a host is given work.",
            "PUT /v2.1/services/{service_id}",
        ),
    )

    def __init__(self, database: Database, policy: Policy, liveness: Liveness) -> None:
        self._liveness = liveness
        self._database = database
        self._policy = policy

    def index(self, request: Request) -> webob.Response:
        """List services; the query may name one program or one host."""
        query = request.query("binary", "host")
        self._policy.check(request.context, "services:show")
        found = self._database.read(
            services.every, binary=query.get("binary"), host=query.get("host")
        )
        return json_response({"services": [self._shown(row) for row in found]})

    def update(self, request: Request, service_id: str) -> webob.Response:
        """Enable or disable an agent: a disabled one finishes what it has and is given no more."""
        request.query()
        self._policy.check(request.context, "services:update")
        body = request.json_object(MAX_DEPTH)
        json_schema.check(bodies.UPDATE, body)
        disabled = body["status"] == "disabled"
        if "disabled_reason" in body and not disabled:
            raise InvalidInput("disabled_reason: only for the status 'disabled'")
        service = lookup.service(self._database, service_id)
        if service.binary != AGENT:
            raise InvalidInput(f"{service.binary} is given no work; only {AGENT} can be disabled")
        self._database.write(
            services.switch,
            service.binary,
            service.host,
            disabled=disabled,
            reason=body.get("disabled_reason"),
            by=request.context.user_id,
        )
        return json_response(self._shown(lookup.service(self._database, service_id)))

    def _shown(self, row: Record) -> dict[str, Any]:
        return views.service(row, datetime.datetime.now(datetime.UTC), self._liveness)
