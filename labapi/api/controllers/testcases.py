"""``/testcases``: one method on one host, once."""

from __future__ import annotations

import datetime
import threading
import time
import uuid
from typing import Any

import webob
from oslo_config import cfg

from labapi.api import (
    catalogue,
    host_guard,
    idempotency,
    lookup,
    pagination,
    parameters,
    schemas,
)
from labapi.api.access import ADMIN, MEMBER, OWN, READER, Policy, rule
from labapi.api.backend.hints import Hints
from labapi.api.backend.output import OutputOnItsWay, Reader
from labapi.api.backend.waiters import Waiters
from labapi.api.controllers import Controller
from labapi.api.request import Request, json_response
from labapi.api.schemas import testcases as bodies
from labapi.api.views import testcases as views
from labapi.case import Result, State
from labapi.context import RequestContext
from labapi.db import allowance, attempts, testcases
from labapi.db.session import Database, Record
from labapi.exceptions import Conflict, InvalidInput, NotFound
from labapi.scheduler.room import Room
from labapi.servicegroup.driver import Liveness

# Seconds beyond ?wait= after which a request is answered even if the database is not, and those of
# them that the output of a finished case may take.
GRACE = 2.0
OUTPUT_GRACE = 1.0

FILTERS = ("state", "result", "host", "plugin", "method")


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
    ) -> None:
        self._conf = conf
        self._database = database
        self._policy = policy
        self._hints = hints
        self._waiters = waiters
        self._output = output
        self._room = Room(conf, liveness)

    def create(self, request: Request) -> webob.Response:
        """Accept a case: 202, or with ``?wait=SECONDS`` 200 once it is finished."""
        wait = parameters.seconds(request.query("wait"), "wait", self._conf.api.max_wait)
        if wait:
            allowance.end_within(wait + GRACE)
        self._policy.check(request.context, "testcases:create")
        body, digest = request.json_object(self._conf.api.max_json_depth), request.body_digest()
        key = idempotency.key_of(request)
        known = self._database.read(testcases.with_key, key) if key else None
        if known is None:
            case = self._row(request, body)
            case |= {"idempotency": key, "body_digest": digest if key else None}
            # The wait begins before the case is there: it may end faster than this goes on.
            with self._waiters.listening(case["uuid"]) as ended:
                case_id = self._database.insert(testcases.create, case)
                if case_id == case["uuid"]:
                    self._tell(case)
                    shown = self._ended(case_id, ended, wait)
                    new = shown or views.whole(case, b"", truncated=False)
                    return _accepted(request, new, finished=shown is not None)
            known = lookup.testcase(self._database, case_id)  # with the same key, and faster
        host_guard.check(request.environ, known.host_meta)
        idempotency.check_same(known.body_digest, digest)
        return self._replay(request, known, wait)

    def _replay(self, request: Request, known: Record, wait: float) -> webob.Response:
        """Answer a request that is sent again, with the case that the first one made."""
        if known.state == State.FINISHED:
            until = time.monotonic() + wait + OUTPUT_GRACE if wait else None
            return _accepted(request, self._whole(known, until), finished=wait > 0)
        with self._waiters.listening(known.uuid) as ended:
            shown = self._ended(known.uuid, ended, wait)
        if shown is not None:
            return _accepted(request, shown, finished=True)
        now = lookup.testcase(self._database, known.uuid)
        # If it has finished by now, that was too late for this request, and so is its output.
        shown = self._whole(known if now.state == State.FINISHED else now)
        return _accepted(request, shown, finished=False)

    def index(self, request: Request) -> webob.Response:
        """List cases, newest first."""
        query = request.query("limit", "marker", "since", *FILTERS)
        parameters.check_one_of(query, "state", State)
        parameters.check_one_of(query, "result", Result)
        context = request.context
        own: dict[str, Any] = {}
        if not self._policy.allows(context, "testcases:show_all_projects"):
            self._policy.check(context, "testcases:show", context.project_id)
            own = {"project_id": context.project_id}
        limit = pagination.limit_of(query, self._conf.api.max_limit)
        rows, more = self._database.read(
            testcases.page,
            {name: query[name] for name in FILTERS if name in query} | own,
            since=parameters.moment(query, "since"),
            before=self._before(context, query.get("marker")),
            limit=limit,
        )
        shown = [
            views.summary(case._asdict())
            for case in rows
            if not host_guard.hidden(request.environ, case.host_meta)
        ]
        response = json_response({"testcases": shown})
        # Of a host that this client may not see, it does not learn how many cases there are.
        if more and (shown or "host" not in query):
            pagination.link_next(response, request, rows[-1].uuid)
        return response

    def show(self, request: Request, testcase_id: str) -> webob.Response:
        """Show one case with the beginning of its output."""
        request.query()
        return json_response(self._whole(self._visible(request, testcase_id)))

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
        return json_response(self._whole(lookup.testcase(self._database, testcase_id)), 202)

    def _ended(self, case_id: str, ended: threading.Event, wait: float) -> views.WholeCase | None:
        """Show a case that has ended, None if it does not within ``wait`` seconds.

        For a client that waits, a case has not ended while its output is still on its way.
        """
        if not wait:
            return None
        until = time.monotonic() + wait + OUTPUT_GRACE
        case = self._waiters.wait_for(
            ended, wait, lambda: self._database.read(testcases.ending, case_id)
        )
        if case is None:
            return None
        head = case.head or b""
        if len(head) == case.output_size <= self._conf.api.inline_output:
            return views.whole(case._asdict(), head, truncated=False)
        try:
            return self._whole(case, until)
        except OutputOnItsWay:
            return None

    def _row(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        schemas.check(bodies.CREATE, body)
        given = body.get("parameters", {})
        host = lookup.host_named(self._database, request.environ, body["host"])
        host_guard.check(request.environ, host.meta)
        catalogue.check(host, body["plugin"], body["method"], given)
        limits = self._conf.api
        timeout = body.get("timeout", limits.default_timeout)
        if timeout > limits.max_timeout:
            raise InvalidInput(f"timeout: the longest allowed is {limits.max_timeout:g} seconds")
        context = request.context
        now = datetime.datetime.now(datetime.UTC)
        return {
            "uuid": str(uuid.uuid4()),
            "project_id": context.project_id,
            "user_id": context.user_id,
            "request_id": context.request_id,
            "plugin": body["plugin"],
            "method": body["method"],
            "host": host.host,
            "parameters": given,
            "timeout": float(timeout),
            "queue_rank": -body.get("priority", 0),
            "rerun_on_loss": body.get("rerun_on_loss", False),
            "created_at": now,
            "output_size": 0,
            **(_given(now) if self._has_room(host, now) else {"state": State.QUEUED}),
        }

    def _has_room(self, host: Record, now: datetime.datetime) -> bool:
        """Say whether a host can be given a case at once, and no other case waits for it.

        Requests of the same moment do not see one another: all of them may find the last room.
        """
        return (
            not host.waited_for
            and not self._hints.away  # then nobody would hear of it
            and self._room.of(host, now) > 0
        )

    def _tell(self, case: dict[str, Any]) -> None:
        if case["state"] == State.QUEUED:
            self._hints.case_waits(case["uuid"], case["host"])
        else:
            self._hints.case_given(case["uuid"])

    def _whole(self, case: Record, until: float | None = None) -> views.WholeCase:
        inline = self._conf.api.inline_output
        output = b"".join(self._output.text(case, enough=inline, until=until))
        return views.whole(case._asdict(), output[:inline], truncated=len(output) > inline)

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


def _given(now: datetime.datetime) -> dict[str, Any]:
    """Return the columns of a case that is given to its host as it is made.

    It saves a conductor the transaction in which it would claim the case.
    """
    return {
        "state": State.RUNNING,
        "attempt": uuid.uuid4().hex,
        "attempts": 1,
        "dispatched_at": now,
    }
