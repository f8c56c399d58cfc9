"""``/slaves``: the lab's machines."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import webob
from oslo_config import cfg

from labapi.api import host_filters, host_guard, lookup, pagination, parameters
from labapi.api.access import ADMIN, READER, Policy, rule
from labapi.api.backend.hints import Hints
from labapi.api.backend.keys import ConductorKeys
from labapi.api.controllers import Controller
from labapi.api.request import Request, json_object_stream, json_response
from labapi.api.views import slaves as views
from labapi.api.where import Where
from labapi.db import host_states, host_use, hosts, removal
from labapi.db.session import Database, Record
from labapi.exceptions import Conflict, InvalidInput, NotFound
from labapi.known import there_is
from labapi.scheduler import catalogue
from labapi.scheduler.driver import Driver
from labapi.scheduler.host_manager import HostManager
from labapi.scheduler.host_state import HostState
from labapi.servicegroup import driver

# Shows rows as names and values of the answer.
View = Callable[[Sequence[Record]], Iterable[tuple[str, Any]]]

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
            "GET /v2.1/slaves/{slave_id}/plugins",
            "GET /v2.1/slaves/{slave_id}/metadata",
            "GET /v2.1/slaves/{slave_id}/metadata/{key}",
        ),
        rule(
            "slaves:show_all_projects",
            ADMIN,
            "See the groups, leases and cases of hosts, also those of other projects.",
            "GET /v2.1/slaves/detail",
            "GET /v2.1/slaves/{slave_id}",
        ),
        rule(
            "slaves:delete",
            ADMIN,
            "Remove a host that is down, and end its cases.",
            "DELETE /v2.1/slaves/{slave_id}",
        ),
    )

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        policy: Policy,
        liveness: driver.Liveness,
        keys: ConductorKeys,
        hints: Hints,
        hosts: HostManager,
        scheduler: Driver,
    ) -> None:
        self._hints = hints
        self._keys = keys
        self._conf = conf
        self._liveness = liveness
        self._database = database
        self._policy = policy
        self._where = Where(conf, database, hosts, scheduler)

    def index(self, request: Request) -> webob.Response:
        """List hosts: ``{uuid: {"id", "host"}}``."""
        return self._list(request, _briefs, whole=False)

    def detail(self, request: Request) -> webob.Response:
        """List hosts with their catalogues, keyed by UUID."""
        return self._list(request, lambda rows: self._details(request, rows), whole=True)

    def show(self, request: Request, slave_id: str) -> webob.Response:
        """Show one host, by id, UUID or name."""
        host = self._readable(request, slave_id)
        ((_, shown),) = self._details(request, [host])
        shown.facts, shown.uuid = host.facts or {}, host.uuid
        return json_response(shown)

    def plugins(self, request: Request, slave_id: str) -> webob.Response:
        """Show the catalogue of one host with the schemas of its methods."""
        return json_response({"plugins": views.plugins(self._readable(request, slave_id))})

    def delete(self, request: Request, slave_id: str) -> webob.Response:
        """Remove a host that is down, and end its cases.

        No guard here: it is for administrators, who may change the guard as well.
        """
        request.query()
        self._policy.check(request.context, "slaves:delete")
        host = lookup.slave(self._database, slave_id)
        now = datetime.datetime.now(datetime.UTC)
        if self._liveness.is_up(host, now):
            raise Conflict(
                f"host {host.host} is up; stop its agent first, or let an operator say:"
                f" labapi-manage agent remove {host.host} --apply"
            )
        removed = removal.remove(self._database, host.host, now)
        self._hints.cases_failed([*removed.waiting, *removed.active])
        return json_response(views.removed(host.host, removed))

    def _readable(self, request: Request, slave_id: str) -> Record:
        request.query()
        self._policy.check(request.context, "slaves:show")
        host = lookup.slave(self._database, slave_id)
        host_guard.check(request.environ, host.meta)
        return host

    def _details(self, request: Request, rows: Sequence[Record]) -> list[tuple[str, views.Host]]:
        """Show hosts in detail; those that somebody uses take further statements."""
        used: list[Record] = []
        for host in rows:
            if host.grouped or host.busy or host.lease_id is not None:
                used.append(host)
        uses = self._uses(request, used) if used else {}
        now = datetime.datetime.now(datetime.UTC)
        keys = self._keys.current()
        shown: list[tuple[str, views.Host]] = []
        text, announced = None, catalogue.NOTHING
        for host in rows:
            # To compare what neighbours announce is faster than to look for it among what is kept.
            if host.plugins != text:
                text, announced = host.plugins, catalogue.read(host.plugins)
            use = uses.get(host.host, views.UNUSED)
            view = views.detail(host, announced, now, self._liveness, keys, use)
            shown.append((host.uuid, view))
        return shown

    def _uses(self, request: Request, used: Sequence[Record]) -> dict[str, views.Use]:
        grouped = [host.host for host in used if host.grouped]
        busy = [host.host for host in used if host.busy]
        leased = {host.lease_id for host in used if host.lease_id is not None}
        groups = self._database.read(host_use.groups, grouped) if grouped else {}
        running = self._database.read(host_use.running, busy) if busy else {}
        found = self._database.read(host_states.leases, leased) if leased else ()
        leases = {lease.id: lease for lease in found}
        context = request.context
        all_projects = self._policy.allows(context, "slaves:show_all_projects")
        caller = views.Caller(context.project_id, all_projects)
        return {
            host.host: views.use(
                groups.get(host.host, {}),
                leases.get(host.lease_id),
                running.get(host.host, ()),
                caller,
            )
            for host in used
        }

    def _list(self, request: Request, view: View, *, whole: bool) -> webob.Response:
        query = request.query("limit", "marker", *host_filters.ONCE, several=host_filters.SEVERAL)
        self._policy.check(request.context, "slaves:show")
        limit = pagination.limit_of(query, self._conf.api.max_limit)
        after = self._after(query.get("marker"))
        several = {name: request.values(name) for name in host_filters.SEVERAL}
        filters = {name: query[name] for name in host_filters.ONCE if name in query}
        if filters or any(several.values()):
            ids = self._filtered(request, filters, several, after)
            return self._found(request, view, ids, limit, whole=whole)
        # The first rows are read before the answer begins, so that an error is still an error.
        first = self._database.read(hosts.page, after=after, limit=min(limit, BATCH), whole=whole)
        response = _written(request, view, first, self._batches(first, limit, whole=whole))
        if len(first) == min(limit, BATCH):
            last = self._database.read(hosts.last_of_page, after=after, limit=limit)
            if last is not None:
                pagination.link_next(response, request, last)
        return response

    def _filtered(
        self,
        request: Request,
        filters: Mapping[str, str],
        several: Mapping[str, Sequence[str]],
        after: int,
    ) -> list[int]:
        """Return the ids of the hosts that filters let pass, in their order."""
        self._check_group(request, filters.get("group"))
        predicates = host_filters.predicates(filters, several)
        with self._where.visible(request.environ) as states:
            among: Iterable[HostState] = states
            if parameters.flag(filters, "free"):
                among = self._where.free(request, filters, states)
            return sorted(
                host.id
                for host in among
                if host.id > after and all(holds(host) for holds in predicates)
            )

    def _check_group(self, request: Request, group: str | None) -> None:
        """Check that the caller may know which hosts are in a group."""
        context = request.context
        if group is None or self._policy.allows(context, "slaves:show_all_projects"):
            return
        known = self._database.read(host_use.groups_for, context.project_id)
        if group not in known:
            raise InvalidInput(
                f"group: there is no group {group[:64]!r} that your project may use;"
                f" {there_is(known, group)}"
            )

    def _found(
        self, request: Request, view: View, ids: Sequence[int], limit: int, *, whole: bool
    ) -> webob.Response:
        """List these hosts."""
        page = ids[:limit]
        parts = [page[at : at + BATCH] for at in range(0, len(page), BATCH)] or [[]]
        first = self._database.read(hosts.these, parts[0], whole=whole)
        others = (self._database.read(hosts.these, part, whole=whole) for part in parts[1:])
        response = _written(request, view, first, itertools.chain([first], others))
        if len(ids) > limit:
            pagination.link_next(response, request, page[-1])
        return response

    def _batches(
        self, first: Sequence[Record], limit: int, *, whole: bool
    ) -> Iterator[Sequence[Record]]:
        rows, left = first, limit
        while rows:
            yield rows
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


def _written(
    request: Request, view: View, first: Sequence[Record], batches: Iterable[Sequence[Record]]
) -> webob.Response:
    """Return an answer that shows hosts, piece by piece if they are many.

    :param first: the first of the batches
    """
    if len(first) < BATCH:
        return json_response(dict(view(host_guard.visible(request.environ, first))))
    items = (item for rows in batches for item in view(host_guard.visible(request.environ, rows)))
    return webob.Response(
        app_iter=json_object_stream(items), content_type="application/json", charset=None
    )


def _briefs(rows: Iterable[Record]) -> Iterator[tuple[str, Any]]:
    return ((host.uuid, views.Brief(host.id, host.host)) for host in rows)
