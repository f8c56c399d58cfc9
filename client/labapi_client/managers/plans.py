"""``lab.plans``: many cases in one order, and one report."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from labapi_client.answer import Answer
from labapi_client.documents import Given, document
from labapi_client.managers import Manager
from labapi_client.plan_tree import Entry, Plan, add_page
from labapi_client.polling import Look, looks
from labapi_client.waiting import PlanDryRun

REPORTS = {"txt": "text/plain", "html": "text/html", "xml": "application/xml"}


class _Page(msgspec.Struct):
    testplans: list[Plan]


class Plans(Manager):
    """The test plans of the lab."""

    PATH = "/testplans"
    NOUN = "test plan"

    def list(self, *, limit: int | None = None, **filters: str | None) -> Iterator[Plan]:
        """Yield plans without their trees, newest first; pages are fetched as they are asked for.

        :param limit: plans in a page
        :param filters: ``state``, ``result``, ``name`` and ``since``, a time
        """
        for page in self._pages(self.PATH, {"limit": limit, **filters}):
            found: _Page = page.decode(_Page)
            yield from found.testplans

    def get(
        self, plan: str, *, limit: int | None = None, output: bool = True, **filters: str | None
    ) -> Plan:
        """Return one with its tree; the pages of that are put together.

        :param limit: entries in a page
        :param output: with the beginning of each entry's output
        :param filters: ``state`` and ``result`` of the entries that are wanted
        :raises NotFound: there is none
        """
        first, *more = self._trees(plan, {"limit": limit, "output": output, **filters})
        for page in more:
            add_page(first.testplan, page.testplan)
        return first

    def entries(
        self, plan: str, *, limit: int | None = None, output: bool = True, **filters: str | None
    ) -> Iterator[Entry]:
        """Yield the entries of a plan; pages are fetched as they are asked for.

        :param limit: entries in a page
        :param filters: ``state`` and ``result``
        """
        for page in self._trees(plan, {"limit": limit, "output": output, **filters}):
            yield from page.entries()

    def brief(self, plan: str) -> Plan:
        """Return one with its counts, and next to nothing of its entries."""
        return next(self._trees(plan, {"output": False, "limit": 1}))

    def create(
        self,
        plan: Given,
        environment: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Plan:
        """Post a plan and return it as it is then; it is posted once, however often it is sent.

        :param plan: an object, a :class:`~pathlib.Path`, or a text in JSON or YAML
        :param environment: values in place of some of its ``environment``, by their path:
            ``{"Data:STA1": "lab-1"}``
        :param idempotency_key: the same key makes no second plan; one is made up if there is none
        :raises BadRequest: ``errors`` has all that is wrong with it, each with its path
        :raises BadDocument: ``environment`` does not fit it
        """
        key = idempotency_key or uuid.uuid4().hex
        return self._plan(self._send(plan, environment, headers={"Idempotency-Key": key}))

    def check(self, plan: Given, environment: Mapping[str, Any] | None = None) -> PlanDryRun:
        """Return where each entry of a plan could run now; nothing is started.

        :raises BadRequest: as :meth:`create`
        """
        answer = self._send(plan, environment, query={"dry_run": "true"})
        found: PlanDryRun = answer.decode(PlanDryRun)
        return found

    def rerun(self, plan: str, only: str | None = None) -> Plan:
        """Post a plan again and return the new one.

        :param only: ``failed``: what passed is not run again
        :raises Conflict: it is not finished
        """
        body = {} if only is None else {"only": only}
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        path = self._item(plan, "rerun")
        return self._plan(self._lab.request("POST", path, body=body, headers=headers))

    def cancel(self, plan: str) -> Plan:
        """Cancel a plan: what runs is ended, what is ``always`` to run still does.

        :raises Conflict: it is finished
        """
        return self._plan(self._lab.request("DELETE", self._item(plan)))

    delete = cancel

    def report(self, plan: str, form: str = "txt") -> bytes:
        """Return the report of a plan.

        :param form: ``txt`` for a terminal, ``html``, or ``xml``, which is JUnit
        :raises NotFound: there is no such plan
        """
        path = self._item(plan, f"report.{form}")
        return self._lab.request("GET", path, headers={"Accept": REPORTS[form]}).body

    def looks(self, plan: str, timeout: float | None = None) -> Iterator[Look]:
        """Yield a plan as it is, and each time that something of it has changed, to its end.

        :param timeout: seconds after which it is not looked at any more
        :raises TimedOut: they are over
        """
        return looks(self, plan, timeout)

    def wait(
        self,
        plan: str,
        timeout: float | None = None,
        progress: Callable[[Look], object] | None = None,
    ) -> Plan:
        """Wait until a plan is finished and return it with its counts, without its entries.

        :param timeout: seconds; without one it waits as long as it takes
        :param progress: called with each change
        :raises TimedOut: it is not finished by then
        """
        for look in looks(self, plan, timeout, entries=progress is not None):
            if progress is not None:
                progress(look)
        return look.plan

    def run(
        self,
        plan: Given,
        environment: Mapping[str, Any] | None = None,
        wait_timeout: float | None = None,
    ) -> PlanRun:
        """Post a plan, and return what yields its changes as they come.

        :param plan: and ``environment``: as of :meth:`create`
        :param wait_timeout: seconds after which its end is not waited for any more
        """
        return PlanRun(self, self.create(plan, environment), wait_timeout)

    def _send(
        self,
        plan: Given,
        environment: Mapping[str, Any] | None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        found = document(plan, environment)
        headers = {"Content-Type": found.kind, **(headers or {})}
        return self._lab.request("POST", self.PATH, query=query, body=found.data, headers=headers)

    @staticmethod
    def _plan(answer: Answer) -> Plan:
        found: Plan = answer.decode(Plan)
        return found

    def _trees(self, plan: str, query: Mapping[str, Any]) -> Iterator[Plan]:
        for page in self._pages(self._item(plan), query):
            yield page.decode(Plan)


class PlanRun:
    """A plan on its way: iterating yields its changes as they come, until it is finished.

    :ivar plan: as it was when the lab was asked last
    """

    def __init__(self, plans: Plans, plan: Plan, timeout: float | None = None) -> None:
        self._plans = plans
        self._timeout = timeout
        self.plan = plan

    def __iter__(self) -> Iterator[Look]:
        """Yield the plan as it is, and each change.

        :raises TimedOut: the plan takes longer than the caller waits
        """
        for look in self._plans.looks(self.plan.id, self._timeout):
            self.plan = look.plan
            yield look

    def wait(self, timeout: float | None = None) -> Plan:
        """Wait until it is finished.

        :raises TimedOut: it is not finished within ``timeout`` seconds
        """
        self.plan = self._plans.wait(self.plan.id, timeout)
        return self.plan

    def cancel(self) -> Plan:
        """Cancel it."""
        self.plan = self._plans.cancel(self.plan.id)
        return self.plan
