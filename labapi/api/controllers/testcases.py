"""``/testcases``: one method on one host, once."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence

import webob
from oslo_config import cfg

from labapi.api import host_guard, idempotency, lookup, pagination, parameters
from labapi.api.access import ADMIN, MEMBER, OWN, READER, Policy, rule
from labapi.api.backend.hints import Hints
from labapi.api.backend.keys import ConductorKeys
from labapi.api.backend.output import Reader
from labapi.api.backend.waiters import Ended, Waiters
from labapi.api.controllers import Controller
from labapi.api.endings import OUTPUT_GRACE, Endings
from labapi.api.new_cases import New, NewCases
from labapi.api.request import Request, json_response
from labapi.api.views import testcases as views
from labapi.api.waiting import Waiting
from labapi.api.where import Where
from labapi.api.why import Why
from labapi.case import Result, State
from labapi.context import RequestContext
from labapi.db import allowance, attempts, testcases
from labapi.db.session import Database, Record
from labapi.exceptions import Conflict, InvalidInput, NotFound
from labapi.scheduler.driver import Driver
from labapi.scheduler.host_manager import HostManager
from labapi.servicegroup.driver import Liveness

# Seconds beyond ?wait= after which a request is answered even if the database is not.
GRACE = 2.0

FILTERS = ("state", "result", "host", "plugin", "method", "batch", "plan")


class TestCases(Controller):
    """The controller of test cases."""

    RULES = (
        rule("testcases:create", MEMBER, "Run a case.", "POST /v2.1/testcases"),
        rule(
            "testcases:show",
            f"{READER} and ({OWN} or {ADMIN})",
            "See a case and its output.",
            "GET /v2.1/testcases",
            "GET /v2.1/testcases/{testcase_id}",
            "GET /v2.1/testcases/{testcase_id}/output",
        ),
        rule(
            "testcases:show_all_projects",
            ADMIN,
            "See the cases of all projects in the list.",
            "GET /v2.1/testcases",
        ),
        rule(
            "testcases:cancel",
            f"{MEMBER} and ({OWN} or {ADMIN})",
            "Cancel a case.",
            "DELETE /v2.1/testcases/{testcase_id}",
        ),
    )

    __test__ = False  # pytest: this is not a test

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        policy: Policy,
        hints: Hints,
        waiters: Waiters,
        output: Reader,
        liveness: Liveness,
        keys: ConductorKeys,
        hosts: HostManager,
        scheduler: Driver,
    ) -> None:
        self._max_wait: float = conf.api.max_wait
        self._max_depth: int = conf.api.max_json_depth
        self._max_limit: int = conf.api.max_limit
        self._database = database
        self._policy = policy
        self._hints = hints
        self._waiters = waiters
        self._where = Where(conf, database, hosts, scheduler)
        self._new = NewCases(conf, database, hints, liveness, self._where)
        self._waiting = Waiting(conf, database, liveness, keys)
        self._why = Why(conf, database, policy, self._where)
        self._endings = Endings(conf, database, waiters, output, self._waiting)

    def create(self, request: Request) -> webob.Response:
        """Accept cases: 202, or with ``?wait=SECONDS`` 200 once all of them are finished.

        With ``?dry_run=true`` nothing is made: 200, and where a case could run.
        """
        query = request.query("wait", "dry_run")
        wait = parameters.seconds(query, "wait", self._max_wait)
        if wait:
            allowance.end_within(wait + GRACE)
        self._policy.check(request.context, "testcases:create")
        request.require_project("case")
        body, digest = request.json_object(self._max_depth), request.body_digest()
        if parameters.flag(query, "dry_run"):
            return json_response(self._new.dry_run(request, body))
        key = idempotency.key_of(request)
        known = self._database.read(testcases.with_key, key) if key else None
        if known is None:
            new = self._new.of(request, body)
            new.first.update(idempotency.columns(key, digest))
            # The wait begins before the cases are there: they may end faster than this goes on.
            with self._waiters.listening(*(row["uuid"] for row in new.rows)) as ended:
                made = self._new.add(new)
                if made == new.first["uuid"]:
                    self._new.tell(new)
                    return self._answer(request, new, ended, wait)
            known = lookup.testcase(self._database, made)  # with the same key, and faster
        host_guard.check_case(request.environ, known)
        idempotency.check_same(known.body_digest, digest)
        if known.batch is not None:
            return self._replay_batch(request, known.batch, wait)
        return self._replay(request, known, wait)

    def _answer(self, request: Request, new: New, ended: Ended, wait: float) -> webob.Response:
        """Answer a request that has made cases."""
        if new.many:
            batch, count = new.first["uuid"], len(new.rows)
            finished = self._endings.all(batch, ended, wait)
            if wait:
                shown = self._endings.batch(request.environ, batch, count, wait)
            else:
                shown = self._endings.beginnings(new.rows)
            return _accepted_batch(request, batch, shown, finished=finished)
        one = self._endings.one(new.first, ended, wait)
        case = one or self._endings.beginnings(new.rows)[0]
        return _accepted(request, case, finished=one is not None)

    def _replay(self, request: Request, known: Record, wait: float) -> webob.Response:
        """Answer a request that is sent again, with the case that the first one made."""
        if known.state == State.FINISHED:
            until = time.monotonic() + wait + OUTPUT_GRACE if wait else None
            return _accepted(request, self._endings.whole(known, until), finished=wait > 0)
        with self._waiters.listening(known.uuid) as ended:
            shown = self._endings.one(known._asdict(), ended, wait)
        now = lookup.testcase(self._database, known.uuid)
        host_guard.check_case(request.environ, now)  # it may have got its host meanwhile
        if shown is not None:
            return _accepted(request, shown, finished=True)
        # If it has finished by now, that was too late for this request, and so is its output.
        shown = self._endings.whole(known if now.state == State.FINISHED else now)
        return _accepted(request, shown, finished=False)

    def _replay_batch(self, request: Request, batch: str, wait: float) -> webob.Response:
        """Answer a request that is sent again, with the cases that the first one made."""
        cases = self._database.read(testcases.of_batch, batch)
        with self._waiters.listening(*cases) as ended:
            finished = self._endings.all(batch, ended, wait)
        shown = self._endings.batch(request.environ, batch, len(cases), wait)
        return _accepted_batch(request, batch, shown, finished=finished)

    def index(self, request: Request) -> webob.Response:
        """List cases, newest first."""
        query = request.query("limit", "marker", "since", *FILTERS)
        parameters.check_one_of(query, "state", State)
        parameters.check_one_of(query, "result", Result)
        context = request.context
        own = self._policy.listed(context, "testcases")
        limit = pagination.limit_of(query, self._max_limit)
        rows, more = self._database.read(
            testcases.page,
            {name: query[name] for name in FILTERS if name in query} | own,
            since=parameters.moment(query, "since"),
            before=self._before(context, query.get("marker")),
            limit=limit,
        )
        seen = [row for row in rows if not host_guard.hidden_case(request.environ, row)]
        shown = [views.summary(case) for case in self._waiting.told(row._asdict() for row in seen)]
        response = json_response({"testcases": shown})
        # Of a host that this client may not see, it does not learn how many cases there are.
        if more and (shown or "host" not in query):
            pagination.link_next(response, request, rows[-1].uuid)
        return response

    def show(self, request: Request, testcase_id: str) -> webob.Response:
        """Show one case with the beginning of its output, and why it waits if it does.

        ``?output=false`` leaves both out.
        """
        query = request.query("output")
        case = self._visible(request, testcase_id)
        if not parameters.flag(query, "output", default=True):
            return json_response(views.summary(case._asdict()))
        shown = self._endings.whole(case)
        if case.state == State.QUEUED:
            return json_response(views.waiting(shown, self._why.of(request, case)))
        return json_response(shown)

    def cancel(self, request: Request, testcase_id: str) -> webob.Response:
        """Cancel a case that is not finished: 202, and its state says how far that has got."""
        request.query()
        case = self._visible(request, testcase_id)
        self._policy.check(request.context, "testcases:cancel", case.project_id)
        now = datetime.datetime.now(datetime.UTC)
        state = self._database.write(attempts.request_cancel, case.uuid, now)
        if state == State.FINISHED:
            raise Conflict(f"case {case.uuid} is finished already")
        if state == State.QUEUED:
            self._hints.case_cancelled(case.uuid)
        else:
            self._hints.cancel_wanted(case.uuid)
        return json_response(self._endings.whole(lookup.testcase(self._database, testcase_id)), 202)

    def _visible(self, request: Request, testcase_id: str) -> Record:
        return lookup.visible_testcase(self._database, self._policy, request, testcase_id)

    def _before(self, context: RequestContext, marker: str | None) -> int | None:
        if marker is None:
            return None
        try:
            return int(lookup.own_testcase(self._database, self._policy, context, marker).id)
        except NotFound as error:
            raise InvalidInput(f"marker: {error}") from None


def _accepted(request: Request, case: views.WholeCase, *, finished: bool) -> webob.Response:
    # Without ?wait= the answer is 202, even for a case that was faster than this answer.
    response = json_response(case, 200 if finished else 202)
    response.headers["Location"] = f"{request.path_url.rstrip('/')}/{case.id}"
    return response


def _accepted_batch(
    request: Request, batch: str, cases: Sequence[views.WholeCase], *, finished: bool
) -> webob.Response:
    response = json_response({"testcases": cases}, 200 if finished else 202)
    response.headers["Location"] = f"{request.path_url.rstrip('/')}?batch={batch}"
    return response
