"""``/services``: the programs of the lab, and whether they are up."""

from __future__ import annotations

import datetime

import webob

from labapi.api.access import ADMIN, Policy, rule
from labapi.api.controllers import Controller
from labapi.api.request import Request, json_response
from labapi.api.views import services as views
from labapi.db import services
from labapi.db.session import Database
from labapi.servicegroup.driver import Liveness


class Services(Controller):
    """The controller of services."""

    RULES = (rule("services:show", ADMIN, "See services.", "GET /v2.1/services"),)

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
        now = datetime.datetime.now(datetime.UTC)
        shown = [views.service(row, now, self._liveness) for row in found]
        return json_response({"services": shown})
