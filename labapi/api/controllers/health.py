"""``/health``: whether what the API depends on answers, for operators.

``/healthcheck`` beside the API is for load balancers: it needs no identity and tells nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import webob
from oslo_log import log
from sqlalchemy import Connection, text

from labapi.api.access import ADMIN, Policy, rule
from labapi.api.controllers import Controller
from labapi.api.request import Request, json_response
from labapi.db.session import Database
from labapi.exceptions import BrokerUnavailable, Unavailable
from labapi.rpc.transport import BROKER_ERRORS, Transport

LOG = log.getLogger(__name__)


class Health(Controller):
    """The controller of health: 200 when everything answers, otherwise 503."""

    RULES = (rule("health:show", ADMIN, "See what the API depends on.", "GET /v2.1/health"),)

    def __init__(self, database: Database, transport: Transport, policy: Policy) -> None:
        self._checks = {
            "database": lambda: database.read(_ask_database),
            "broker": lambda: _reach(transport),
        }
        self._policy = policy

    def show(self, request: Request) -> webob.Response:
        """Ask the database and the broker."""
        request.query()
        self._policy.check(request.context, "health:show")
        found = {name: _ask(name, check) for name, check in self._checks.items()}
        healthy = all(item["ok"] for item in found.values())
        return json_response({"healthy": healthy, "checks": found}, 200 if healthy else 503)


def _ask(name: str, check: Callable[[], object]) -> dict[str, Any]:
    began = time.monotonic()
    try:
        check()
    except Unavailable as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        LOG.warning("health: %s: %s%s", name, error, cause)
        ok = False
    else:
        ok = True
    return {"ok": ok, "milliseconds": round((time.monotonic() - began) * 1000, 3)}


def _ask_database(connection: Connection) -> None:
    connection.execute(text("SELECT 1"))


def _reach(transport: Transport) -> None:
    try:
        transport.connect(heartbeat=False).release()
    except BROKER_ERRORS as error:
        raise BrokerUnavailable(transport.said(error)) from None
