"""``/leases``: hosts that are one project's until a time."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from typing import Any

import webob
from oslo_config import cfg

from labapi import json_schema, ssh_keys
from labapi.api import host_guard, idempotency, lookup, pagination, parameters, placements
from labapi.api.access import ADMIN, MEMBER, OWN, READER, Policy, rule
from labapi.api.controllers import Controller
from labapi.api.request import Request, json_response
from labapi.api.schemas import leases as bodies
from labapi.api.views import leases as views
from labapi.api.where import Where
from labapi.context import AUDIT
from labapi.db import hosts, leases
from labapi.db.leases import LeaseState
from labapi.db.session import Database, Record
from labapi.exceptions import Conflict, Forbidden, InvalidInput, NotFound
from labapi.scheduler.driver import Driver
from labapi.scheduler.host_manager import HostManager
from labapi.servicegroup.driver import Liveness

MAX_DEPTH = 3
# What can be asked of hosts that the scheduler chooses.
WANTS = ("requires", "group", "zone")


class Leases(Controller):
    """The controller of leases."""

    RULES = (
        rule("leases:create", MEMBER, "Lease hosts.", "POST /v2.1/leases"),
        rule(
            "leases:show",
            f"{READER} and ({OWN} or {ADMIN})",
            "See a lease.",
            "GET /v2.1/leases",
            "GET /v2.1/leases/{lease_id}",
        ),
        rule(
            "leases:show_all_projects",
            ADMIN,
            "See the leases of all projects in the list.",
            "GET /v2.1/leases",
        ),
        rule(
            "leases:renew",
            f"{MEMBER} and ({OWN} or {ADMIN})",
            "Say until when a lease lasts.",
            "PUT /v2.1/leases/{lease_id}",
        ),
        rule(
            "leases:end",
            f"{MEMBER} and ({OWN} or {ADMIN})",
            "End a lease.",
            "DELETE /v2.1/leases/{lease_id}",
        ),
    )

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        policy: Policy,
        liveness: Liveness,
        hosts: HostManager,
        scheduler: Driver,
    ) -> None:
        self._conf = conf
        self._database = database
        self._policy = policy
        self._liveness = liveness
        self._where = Where(conf, database, hosts, scheduler)

    def index(self, request: Request) -> webob.Response:
        """List leases, newest first; the query may name a state."""
        query = request.query("limit", "marker", "state")
        parameters.check_one_of(query, "state", LeaseState)
        filters: dict[str, Any] = {"state": query["state"]} if "state" in query else {}
        filters |= self._policy.listed(request.context, "leases")
        limit = pagination.limit_of(query, self._conf.api.max_limit)
        before = self._before(request, query.get("marker"))
        found = self._database.read(leases.page, filters, before=before, limit=limit + 1)
        shown = found[:limit]
        response = json_response({"leases": [views.lease(row) for row in shown]})
        if len(found) > limit:
            pagination.link_next(response, request, shown[-1].uuid)
        return response

    def show(self, request: Request, lease_id: str) -> webob.Response:
        """Show a lease; of one that waits also its place, and what it waits for."""
        request.query()
        return json_response(self._whole(self._visible(request, lease_id)))

    def create(self, request: Request) -> webob.Response:
        """Make a lease."""
        request.query()
        self._policy.check(request.context, "leases:create")
        body, digest = request.json_object(MAX_DEPTH), request.body_digest()
        json_schema.check(bodies.CREATE, body)
        key = idempotency.key_of(request)
        lease = self._database.read(leases.with_key, key) if key else None
        if lease is None:
            made = self._database.write(
                leases.create,
                self._row(request, body) | idempotency.columns(key, digest),
                datetime.datetime.now(datetime.UTC),
                most_hosts=self._conf.scheduler.max_leased_hosts,
            )
            lease = lookup.lease(self._database, made)
        if key:
            idempotency.check_same(lease.body_digest, digest)
        response = json_response(self._whole(lease), 201)
        response.headers["Location"] = f"{request.path_url.rstrip('/')}/{lease.uuid}"
        return response

    def update(self, request: Request, lease_id: str) -> webob.Response:
        """Renew a lease, or have it end sooner."""
        request.query()
        lease = self._visible(request, lease_id)
        self._policy.check(request.context, "leases:renew", lease.project_id)
        body = request.json_object(MAX_DEPTH)
        json_schema.check(bodies.RENEW, body)
        seconds, until = self._time(body)
        now = datetime.datetime.now(datetime.UTC)
        self._database.write(leases.renew, lease.id, now, seconds=seconds, until=until)
        return json_response(self._whole(lookup.lease(self._database, lease.uuid)))

    def delete(self, request: Request, lease_id: str) -> webob.Response:
        """End a lease; it stays on the list."""
        request.query()
        lease = self._visible(request, lease_id)
        context = request.context
        self._policy.check(context, "leases:end", lease.project_id)
        request.environ[AUDIT]["owner"] = lease.project_id
        now = datetime.datetime.now(datetime.UTC)
        if self._database.write(leases.end, lease.id, now, context.user_id) is None:
            raise Conflict(f"lease {lease.uuid} has ended already")
        return webob.Response(status=204)

    def _row(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        """Return the columns of the lease that a body asks for.

        :raises Conflict: a host is down, disabled or leased
        """
        context = request.context
        request.require_project("lease")
        if ("hosts" in body) == ("count" in body):
            raise InvalidInput("hosts, count: expected one of them")
        seconds, until = self._time(body)
        named = self._named(request, body) if "hosts" in body else None
        return {
            "uuid": str(uuid.uuid4()),
            "project_id": context.project_id,
            "user_id": context.user_id,
            "request_id": context.request_id,
            "note": body.get("note"),
            "hosts": named,
            "count": body["count"] if named is None else len(named),
            "placement": self._placement(request, body) if named is None else None,
            "keys": _keys(body),
            "seconds": seconds,
            "ends_at": until,
        }

    def _placement(self, request: Request, body: Mapping[str, Any]) -> Any:
        """Return what the hosts have to fulfil, as the column keeps it.

        :raises InvalidInput: it cannot be used, or no host has ever met it
        :raises NotFound: it names a group that is not there for this caller
        :raises Forbidden: the guard of hosts tells nothing that could be asked later
        """
        wants = {name: body[name] for name in WANTS if name in body}
        return placements.column(request, self._where.leased(request, wants))

    def _time(self, body: Mapping[str, Any]) -> tuple[float | None, datetime.datetime | None]:
        """Return how long a lease is to last, or until when.

        :raises InvalidInput: both are given or neither; it is too long, or over already
        """
        if ("seconds" in body) == ("until" in body):
            raise InvalidInput("seconds, until: expected one of them")
        longest = self._conf.scheduler.max_lease
        until = parameters.moment(body, "until")
        now = datetime.datetime.now(datetime.UTC)
        lasts = body["seconds"] if until is None else (until - now).total_seconds()
        field = "seconds" if until is None else "until"
        if lasts <= 0:
            raise InvalidInput(f"{field}: this time is over already")
        if lasts > longest:
            raise InvalidInput(f"{field}: a lease lasts at most {longest:g} seconds from now on")
        return (float(lasts), None) if until is None else (None, until)

    def _named(self, request: Request, body: Mapping[str, Any]) -> list[str]:
        """Return the hosts that a body names.

        :raises NotFound: one is not there
        :raises Forbidden: one is guarded or in groups, and this caller may not run on it
        :raises Conflict: one is down or disabled
        """
        for name in WANTS:
            if name in body:
                raise InvalidInput(f"{name}: 'hosts' names the hosts; leave out one of them")
        wanted = sorted(set(body["hosts"]))
        rows = self._database.read(hosts.wanted, wanted, request.context.project_id)
        found = {row.host: row for row in rows}
        now = datetime.datetime.now(datetime.UTC)
        for name in wanted:
            host = found.get(name)
            if host is None:
                raise NotFound(f"hosts: there is no host {name!r}; GET /v2.1/slaves lists them")
            host_guard.check(request.environ, host.meta)
            if host.closed:
                raise Forbidden(f"hosts: {name!r} is in a group that your project may not use")
            if host.disabled:
                raise Conflict(f"hosts: {name!r} is disabled")
            if not self._liveness.is_up(host, now):
                raise Conflict(f"hosts: {name!r} is down")
        return wanted

    def _whole(self, row: Record) -> dict[str, Any]:
        found = views.lease(row)
        if row.state != LeaseState.WAITING:
            return found
        place = self._database.read(leases.place, row.id)
        cases = self._database.read(leases.running_of_others, row.hosts or [], row.project_id)
        return {**found, **views.waiting(place, cases)}

    def _visible(self, request: Request, lease_id: str) -> Record:
        """Return the lease that a URL names, if the caller may see it.

        :raises NotFound: there is none, or none for this caller
        """
        found = lookup.lease(self._database, lease_id)
        try:
            self._policy.check(request.context, "leases:show", found.project_id)
        except Forbidden:
            raise lookup.no_lease(lease_id) from None
        return found

    def _before(self, request: Request, marker: str | None) -> int | None:
        if marker is None:
            return None
        try:
            return int(self._visible(request, marker).id)
        except NotFound as error:
            raise InvalidInput(f"marker: {error}") from None


def _keys(body: Mapping[str, Any]) -> list[str] | None:
    """Return the public keys of a body.

    :raises InvalidInput: one is none
    """
    found = []
    for number, text in enumerate(body.get("keys", [])):
        try:
            found.append(ssh_keys.read(text))
        except InvalidInput as error:
            raise InvalidInput(f"keys.{number}: {error}") from None
    return sorted(set(found)) or None
