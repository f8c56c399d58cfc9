"""``/testplans``: many cases in one order."""

from __future__ import annotations

import datetime
from typing import Any

import webob
from oslo_config import cfg

from labapi import json_schema
from labapi.api import idempotency, lookup, pagination, parameters
from labapi.api.access import ADMIN, MEMBER, OWN, READER, Policy, rule
from labapi.api.backend.hints import Hints
from labapi.api.controllers import Controller
from labapi.api.new_plans import NewPlan, NewPlans
from labapi.api.plan_tree import Page, PlanTree
from labapi.api.request import Request, json_response
from labapi.api.reruns import Reruns
from labapi.api.schemas import testplans as bodies
from labapi.api.views import testplans as views
from labapi.api.where import Where
from labapi.case import Result, State
from labapi.db import plans, testplans
from labapi.db.session import Database, Record
from labapi.exceptions import Conflict, InvalidInput, NotFound
from labapi.plans.entry import SKIPPED
from labapi.scheduler.driver import Driver
from labapi.scheduler.host_manager import HostManager

FILTERS = ("state", "result", "name")
ENTRY_FILTERS = ("state", "result")
ENTRY_STATES = (State.QUEUED, State.RUNNING, State.FINISHED, SKIPPED)


class TestPlans(Controller):
    """The controller of test plans."""

    RULES = (
        rule(
            "testplans:create",
            MEMBER,
            "Run a test plan; it takes testcases:create, too.",
            "POST /v2.1/testplans",
            "POST /v2.1/testplans/{testplan_id}/rerun",
        ),
        rule(
            "testplans:cancel",
            f"{MEMBER} and ({OWN} or {ADMIN})",
            "Cancel a test plan.",
            "DELETE /v2.1/testplans/{testplan_id}",
        ),
        rule(
            "testplans:show",
            f"{READER} and ({OWN} or {ADMIN})",
            "See a test plan, its entries and its reports.",
            "GET /v2.1/testplans",
            "GET /v2.1/testplans/{testplan_id}",
            "GET /v2.1/testplans/{testplan_id}/report.xml",
            "GET /v2.1/testplans/{testplan_id}/report.html",
            "GET /v2.1/testplans/{testplan_id}/report.txt",
        ),
        rule(
            "testplans:show_all_projects",
            ADMIN,
            "See the test plans of all projects in the list.",
            "GET /v2.1/testplans",
        ),
    )

    __test__ = False  # pytest: this is not a test

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        policy: Policy,
        hints: Hints,
        hosts: HostManager,
        scheduler: Driver,
    ) -> None:
        self._conf = conf
        self._database = database
        self._policy = policy
        self._hints = hints
        self._new = NewPlans(conf, database, Where(conf, database, hosts, scheduler))
        self._reruns = Reruns(database, self._new)
        self._tree = PlanTree(conf, database)

    def create(self, request: Request) -> webob.Response:
        """Accept a test plan: 202. With ``?dry_run=true``: 200, and where its entries could run."""
        dry_run = parameters.flag(request.query("dry_run"), "dry_run")
        self._check_create(request)
        document = request.document(self._conf.api.max_json_depth, self._conf.api.max_plan_size)
        if dry_run:
            return json_response(self._new.dry_run(request, document))
        digest = request.body_digest()
        known = self._known(request, digest)
        if known is None:
            return self._add(request, self._new.of(request, document), digest)
        return _accepted(request, known)

    def cancel(self, request: Request, testplan_id: str) -> webob.Response:
        """Cancel a test plan that is not finished: 202; what always runs still does."""
        request.query()
        plan = self._visible(request, testplan_id)
        self._policy.check(request.context, "testplans:cancel", plan.project_id)
        now = datetime.datetime.now(datetime.UTC)
        cancelled = self._database.write(plans.cancel, plan.uuid, now)
        if cancelled is None:
            raise Conflict(f"test plan {plan.uuid} is finished already")
        self._hints.plan_cancelled(plan.uuid, cancelled)
        return json_response(views.summary(self._visible(request, testplan_id)), 202)

    def rerun(self, request: Request, testplan_id: str) -> webob.Response:
        """Run a finished test plan again, or what did not pass of it: 202, and a new plan."""
        request.query()
        self._check_create(request)
        body = request.json_object(self._conf.api.max_json_depth)
        json_schema.check(bodies.RERUN, body)
        plan = self._visible(request, testplan_id)
        digest = request.body_digest(plan.uuid)
        known = self._known(request, digest)
        if known is None:
            new = self._reruns.of(request, plan, only_failed="only" in body)
            return self._add(request, new, digest)
        return _accepted(request, known)

    def _visible(self, request: Request, testplan_id: str) -> Record:
        return lookup.visible_testplan(self._database, self._policy, request, testplan_id)

    def _check_create(self, request: Request) -> None:
        self._policy.check(request.context, "testplans:create")
        self._policy.check(request.context, "testcases:create")
        request.require_project("test plan")

    def _known(self, request: Request, digest: str) -> Record | None:
        """Return the plan that a request with the same key has made.

        :raises Conflict: that one had another body
        """
        key = idempotency.key_of(request)
        known = self._database.read(testplans.with_key, key) if key else None
        if known is not None:
            idempotency.check_same(known.body_digest, digest)
        return known

    def _add(self, request: Request, new: NewPlan, digest: str) -> webob.Response:
        key = idempotency.key_of(request)
        row = new.row | idempotency.columns(key, digest)
        made = self._database.write(plans.create, row, new.entries)
        if made == row["uuid"]:
            self._hints.plan_waits(made)
            known = self._database.read(testplans.get, made)
        else:  # with the same key, and faster
            known = self._known(request, digest)
        if known is None:
            raise Conflict("the plan is gone already")
        return _accepted(request, known)

    def index(self, request: Request) -> webob.Response:
        """List test plans, newest first."""
        query = request.query("limit", "marker", "since", *FILTERS)
        parameters.check_one_of(query, "state", State)
        parameters.check_one_of(query, "result", Result)
        filters: dict[str, Any] = {name: query[name] for name in FILTERS if name in query}
        filters |= self._policy.listed(request.context, "testplans")
        limit = pagination.limit_of(query, self._conf.api.max_limit)
        found = self._database.read(
            testplans.page,
            filters,
            since=parameters.moment(query, "since"),
            before=self._before(request, query.get("marker")),
            limit=limit + 1,
        )
        shown = found[:limit]
        response = json_response({"testplans": [views.summary(row) for row in shown]})
        if len(found) > limit:
            pagination.link_next(response, request, shown[-1].uuid)
        return response

    def show(self, request: Request, testplan_id: str) -> webob.Response:
        """Show a test plan with a page of its entries; ``?output=false`` leaves logs out."""
        query = request.query("limit", "marker", "output", *ENTRY_FILTERS)
        parameters.check_one_of(query, "state", ENTRY_STATES)
        parameters.check_one_of(query, "result", Result)
        page = Page(
            {name: query[name] for name in ENTRY_FILTERS if name in query},
            parameters.number(query, "marker"),
            pagination.limit_of(query, self._conf.api.max_limit),
            parameters.flag(query, "output", default=True),
        )
        plan = self._visible(request, testplan_id)
        shown, marker = self._tree.show(request.environ, plan, page)
        response = json_response(shown)
        if marker is not None:
            pagination.link_next(response, request, marker)
        return response

    def _before(self, request: Request, marker: str | None) -> int | None:
        if marker is None:
            return None
        try:
            found = self._visible(request, marker)
        except NotFound as error:
            raise InvalidInput(f"marker: {error}") from None
        return int(found.id)


def _accepted(request: Request, plan: Record) -> webob.Response:
    response = json_response(views.summary(plan), 202)
    collection = request.path_url.partition("/testplans")[0]
    response.headers["Location"] = f"{collection}/testplans/{plan.uuid}"
    return response
