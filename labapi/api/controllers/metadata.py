"""``/slaves/{id}/metadata``: what operators note about hosts."""

from __future__ import annotations

import webob

from labapi import json_schema
from labapi.api import host_guard, lookup
from labapi.api.access import ADMIN, Policy, rule
from labapi.api.controllers import Controller
from labapi.api.request import Request, json_response
from labapi.api.schemas import metadata as bodies
from labapi.db import hosts
from labapi.db.session import Database
from labapi.exceptions import InvalidInput, NotFound

MAX_DEPTH = 4


class Metadata(Controller):
    """The controller of host metadata: keys and values are strings."""

    RULES = (
        rule(
            "slaves:set_metadata",
            ADMIN,
            "Change a host's metadata.",
            "PUT /v2.1/slaves/{slave_id}/metadata",
            "PUT /v2.1/slaves/{slave_id}/metadata/{key}",
            "DELETE /v2.1/slaves/{slave_id}/metadata/{key}",
        ),
    )

    def __init__(self, database: Database, policy: Policy) -> None:
        self._database = database
        self._policy = policy

    def index(self, request: Request, slave_id: str) -> webob.Response:
        """Show all."""
        return json_response({"metadata": self._readable(request, slave_id)})

    def show(self, request: Request, slave_id: str, key: str) -> webob.Response:
        """Show one."""
        meta = self._readable(request, slave_id)
        if key not in meta:
            raise NotFound(f"slave {slave_id} has no metadata {key!r}")
        return json_response({"metadata": {key: meta[key]}})

    def replace(self, request: Request, slave_id: str) -> webob.Response:
        """Set all: what is not in the body is removed."""
        given = self._body(request)
        return self._change(request, slave_id, lambda _: given)

    def update(self, request: Request, slave_id: str, key: str) -> webob.Response:
        """Set one: ``{"metadata": {KEY: VALUE}}``."""
        given = self._body(request)
        if set(given) != {key}:
            raise InvalidInput(f"metadata: expected one item, with the key of the URL, {key!r}")
        return self._change(request, slave_id, lambda meta: {**meta, **given})

    def delete(self, request: Request, slave_id: str, key: str) -> webob.Response:
        """Remove one."""
        request.query()

        def without(meta: dict[str, str]) -> dict[str, str]:
            if key not in meta:
                raise NotFound(f"slave {slave_id} has no metadata {key!r}")
            return {name: value for name, value in meta.items() if name != key}

        self._change(request, slave_id, without)
        return webob.Response(status=204)

    def _readable(self, request: Request, slave_id: str) -> dict[str, str]:
        request.query()
        self._policy.check(request.context, "slaves:show")
        host = lookup.slave(self._database, slave_id)
        host_guard.check(request.environ, host.meta)
        meta: dict[str, str] = host.meta
        return meta

    def _body(self, request: Request) -> dict[str, str]:
        request.query()
        self._policy.check(request.context, "slaves:set_metadata")
        body = request.json_object(MAX_DEPTH)
        json_schema.check(bodies.METADATA, body)
        given: dict[str, str] = body["metadata"]
        for key, value in given.items():
            host_guard.check_value(request.environ, key, value)
        return given

    def _change(self, request: Request, slave_id: str, change: hosts.MetaChange) -> webob.Response:
        # No guard here: whoever may change the list must be able to mend it from anywhere.
        self._policy.check(request.context, "slaves:set_metadata")
        host = lookup.slave(self._database, slave_id)

        def bounded(meta: dict[str, str]) -> dict[str, str]:
            changed = change(meta)
            if len(changed) > max(bodies.MAX_ITEMS, len(meta)):
                raise InvalidInput(f"metadata: at most {bodies.MAX_ITEMS} items")
            return changed

        meta = self._database.write(hosts.change_meta, host.id, bounded)
        return json_response({"metadata": meta})
