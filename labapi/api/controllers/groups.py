"""``/groups``: hosts that only some projects may use."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

import webob
from oslo_config import cfg

from labapi import json_schema
from labapi.api import pagination
from labapi.api.access import ADMIN, READER, Policy, rule
from labapi.api.controllers import Controller
from labapi.api.never import check_offered
from labapi.api.request import Request, json_response
from labapi.api.schemas import groups as bodies
from labapi.api.views import groups as views
from labapi.db import groups, hosts, testcases
from labapi.db.groups import Group
from labapi.db.session import Database
from labapi.exceptions import InvalidInput, NotFound
from labapi.known import SHOWN, there_is
from labapi.scheduler.spec import RequestSpec


class Groups(Controller):
    """The controller of groups."""

    RULES = (
        rule(
            "groups:show",
            READER,
            "See the groups that name one's project.",
            "GET /v2.1/groups",
            "GET /v2.1/groups/{group_id}",
        ),
        rule(
            "groups:show_all_projects",
            ADMIN,
            "See all groups.",
            "GET /v2.1/groups",
            "GET /v2.1/groups/{group_id}",
        ),
        rule(
            "groups:change",
            ADMIN,
            "Make, change and delete groups.",
            "POST /v2.1/groups",
            "PUT /v2.1/groups/{group_id}",
            "DELETE /v2.1/groups/{group_id}",
            "PUT /v2.1/groups/{group_id}/hosts/{host}",
            "DELETE /v2.1/groups/{group_id}/hosts/{host}",
        ),
    )

    def __init__(self, conf: cfg.ConfigOpts, database: Database, policy: Policy) -> None:
        self._conf = conf
        self._database = database
        self._policy = policy

    def index(self, request: Request) -> webob.Response:
        """List the groups that the caller's project may use; all of them for administrators."""
        query = request.query("limit", "marker")
        self._policy.check(request.context, "groups:show")
        limit = pagination.limit_of(query, self._conf.api.max_limit)
        found = self._database.read(
            groups.page,
            project=request.context.project_id,
            everybody=self._sees_all(request),
            after=self._after(request, query.get("marker")),
            limit=limit + 1,
        )
        shown = found[:limit]
        response = json_response({"groups": [views.group(one, request.environ) for one in shown]})
        if len(found) > limit:
            pagination.link_next(response, request, shown[-1].row.uuid)
        return response

    def show(self, request: Request, group_id: str) -> webob.Response:
        """Show one group, by UUID or name."""
        request.query()
        self._policy.check(request.context, "groups:show")
        return json_response(views.group(self._visible(request, group_id), request.environ))

    def create(self, request: Request) -> webob.Response:
        """Make a group."""
        body = self._body(request, bodies.CREATE)
        self._check_hosts(body.get("hosts", []))
        self._check_health_case(body, body.get("hosts", []))
        made = self._database.write(
            groups.create,
            {
                "name": body["name"],
                "meta": body.get("metadata", {}),
                "health_case": body.get("health_case"),
            },
            body.get("hosts", []),
            body.get("projects", []),
            datetime.datetime.now(datetime.UTC),
        )
        response = self._answer(request, made, 201)
        response.headers["Location"] = f"{request.path_url.rstrip('/')}/{made}"
        return response

    def update(self, request: Request, group_id: str) -> webob.Response:
        """Change a group: what the body does not name stays as it is."""
        body = self._body(request, bodies.CHANGE)
        group = self._named(group_id)
        given = body.get("hosts")
        if given is not None:
            self._check_hosts(host for host in given if host not in group.hosts)
        self._check_health_case(body, group.hosts if given is None else given)
        columns = {"name": "name", "metadata": "meta", "health_case": "health_case"}
        self._database.write(
            groups.change,
            group.row.id,
            {column: body[field] for field, column in columns.items() if field in body},
            given,
            body.get("projects"),
        )
        return self._answer(request, group.row.uuid)

    def delete(self, request: Request, group_id: str) -> webob.Response:
        """Delete a group; its hosts are for everybody then, unless they are in another one."""
        self._check_change(request)
        self._database.write(groups.remove, self._named(group_id).row.id)
        return webob.Response(status=204)

    def add_host(self, request: Request, group_id: str, host: str) -> webob.Response:
        """Put a host into a group."""
        self._check_change(request)
        group = self._named(group_id)
        if host not in group.hosts:
            self._check_hosts([host])
        self._database.write(groups.add_host, group.row.id, host)
        return self._answer(request, group.row.uuid)

    def remove_host(self, request: Request, group_id: str, host: str) -> webob.Response:
        """Take a host out of a group."""
        self._check_change(request)
        group = self._named(group_id)
        if not self._database.write(groups.remove_host, group.row.id, host):
            known = there_is(group.hosts, host)
            raise NotFound(f"host {host[:64]!r} is not in group {group.row.name!r}; {known}")
        return webob.Response(status=204)

    def _check_change(self, request: Request) -> None:
        request.query()
        self._policy.check(request.context, "groups:change")

    def _body(self, request: Request, schema: Any) -> dict[str, Any]:
        self._check_change(request)
        body = request.json_object(self._conf.api.max_json_depth)
        json_schema.check(schema, body)
        case = body.get("health_case") or {}
        longest = self._conf.api.max_timeout
        if case.get("timeout", 0) > longest:
            raise InvalidInput(f"health_case.timeout: the longest allowed is {longest:g} seconds")
        return body

    def _check_hosts(self, given: Iterable[str]) -> None:
        """Check that these hosts are on the list.

        :raises InvalidInput: one is not
        """
        wanted = set(given)
        missing = sorted(wanted - self._database.read(groups.known_hosts, wanted))
        if missing:
            first = self._database.read(hosts.page, after=0, limit=SHOWN + 1, whole=False)
            known = there_is((host.host for host in first), missing[0])
            raise InvalidInput(f"hosts: there is no host {missing[0][:64]!r}; {known}")

    def _check_health_case(self, body: Mapping[str, Any], members: Iterable[str]) -> None:
        """Check that a host of the group can run the health case of a body.

        :param members: names of its hosts; without any on the list, nobody can say
        :raises InvalidInput: none can; the text says what there is instead
        """
        case = body.get("health_case")
        if case is None:
            return
        known = self._database.read(testcases.targets, members, None)
        if not known:
            return
        asked = RequestSpec(
            plugin=case["plugin"], method=case["method"], parameters=case.get("parameters", {})
        )
        try:
            check_offered(asked, known, " of the group")
        except InvalidInput as error:
            raise InvalidInput(f"health_case.{error}") from None

    def _sees_all(self, request: Request) -> bool:
        return self._policy.allows(request.context, "groups:show_all_projects")

    def _named(self, key: str) -> Group:
        """Return the group with this UUID or name.

        :raises NotFound: there is none
        """
        found = self._database.read(groups.get, key)
        if found is None:
            known = there_is(self._database.read(groups.names, SHOWN + 1), key)
            raise NotFound(f"there is no group {key[:64]!r}; {known}")
        return found

    def _visible(self, request: Request, key: str) -> Group:
        """Return the group with this UUID or name, if the caller may see it.

        :raises NotFound: there is none, or none for this caller
        """
        if self._sees_all(request):
            return self._named(key)
        found = self._database.read(groups.get, key)
        if found is None or request.context.project_id not in found.projects:
            raise NotFound(f"there is no group {key[:64]!r} for your project")
        return found

    def _answer(self, request: Request, key: str, status: int = 200) -> webob.Response:
        return json_response(views.group(self._named(key), request.environ), status)

    def _after(self, request: Request, marker: str | None) -> int:
        if marker is None:
            return 0
        try:
            return int(self._visible(request, marker).row.id)
        except NotFound as error:
            raise InvalidInput(f"marker: {error}") from None
