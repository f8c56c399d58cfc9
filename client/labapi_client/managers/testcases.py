"""``lab.testcases``: one method on one host, once."""

from __future__ import annotations

import builtins
import datetime
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import msgspec

from labapi_client.answer import Answer
from labapi_client.following import follow_events
from labapi_client.managers import Manager
from labapi_client.output import FINISHED, Event, shown
from labapi_client.waiting import DryRun, Waiting

# An offset beyond all output: who only waits for the end of a case need not read what it wrote.
_BEYOND = 10**17


class Case(msgspec.Struct, kw_only=True):
    """A case as it was when the lab was asked; ``docs/api.md`` describes the fields.

    :ivar host: None as long as none has been chosen
    :ivar placement: what it asks of its host; None if it named one
    :ivar batch: the id of the first of the cases that one request made; None if it made one
    :ivar plan: the id of the test plan that it belongs to
    :ivar waiting: why it waits; None in lists, and of one that does not
    :ivar output: the beginning of its output; None in lists
    """

    id: str
    plugin: str
    method: str
    host: str | None = None
    parameters: Any = None
    timeout: float
    priority: int = 0
    rerun_on_loss: bool = False
    placement: dict[str, Any] | None = None
    batch: str | None = None
    plan: str | None = None
    state: str
    waiting: Waiting | None = None
    result: str | None = None
    reason: str | None = None
    detail: str | None = None
    exit_code: int | None = None
    data: Any = None
    output: str | None = None
    output_size: int = 0
    output_truncated: bool = False
    created_at: datetime.datetime
    started_at: datetime.datetime | None = None
    finished_at: datetime.datetime | None = None
    project_id: str | None = None
    user_id: str | None = None
    request_id: str | None = None

    @property
    def finished(self) -> bool:
        """Whether it has a result."""
        return self.state == FINISHED


class Placement(TypedDict, total=False):
    """What a case that names no host asks of it; ``docs/api.md`` describes the words."""

    requires: Sequence[str] | None
    prefer: Sequence[str] | None
    group: str | None
    zone: str | None
    lease: str | None
    same_host_as: Sequence[str] | None
    different_host_from: Sequence[str] | None
    on_no_host: str | None


class More(Placement, total=False):
    """What ``create`` takes beside where a case runs and what."""

    timeout: float | None
    priority: int | None
    rerun_on_loss: bool | None
    idempotency_key: str | None


class _Page(msgspec.Struct):
    testcases: list[Case]


class TestCases(Manager):
    """The cases of the lab."""

    PATH = "/testcases"
    NOUN = "case"
    __test__ = False  # pytest: this is not a test

    def list(self, *, limit: int | None = None, **filters: str | None) -> Iterator[Case]:
        """Yield cases, newest first, without their output; pages are fetched as they are asked for.

        :param limit: cases in a page
        :param filters: ``state``, ``result``, ``host``, ``plugin``, ``method``, ``batch``,
            ``plan`` and
            ``since``, a time
        """
        for page in self._pages(self.PATH, {"limit": limit, **filters}):
            found: _Page = page.decode(_Page)
            yield from found.testcases

    def get(self, case: str, *, output: bool = True) -> Case:
        """Return one.

        :param output: with the beginning of its output, at most 64 KiB
        :raises NotFound: there is none
        """
        query = {} if output else {"output": "false"}
        found: Case = self._lab.request("GET", self._item(case), query=query).decode(Case)
        return found

    def create(
        self,
        plugin: str,
        method: str,
        host: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        priority: int | None = None,
        rerun_on_loss: bool | None = None,
        idempotency_key: str | None = None,
        **placement: Unpack[Placement],
    ) -> Case:
        """Post a case and return it as it is then; it is posted once, however often it is sent.

        What is None is left to the lab.

        :param host: a name or an IP address; without one, a host that fulfils ``placement``
        :param timeout: seconds that the method may run
        :param priority: -100 to 100
        :param rerun_on_loss: run it again if its agent is lost
        :param idempotency_key: the same key makes no second case; one is made up if there is none
        :raises BadRequest: the lab cannot use one of these; the message names it
        """
        body = {
            **{"plugin": plugin, "method": method, "host": host, "parameters": parameters},
            **{"timeout": timeout, "priority": priority, "rerun_on_loss": rerun_on_loss},
            **placement,
        }
        found: Case = self._post(body, idempotency_key).decode(Case)
        return found

    def create_several(
        self, plugin: str, method: str, idempotency_key: str | None = None, **given: Any
    ) -> builtins.list[Case]:
        """Post what may become several cases, with ``count`` or ``hosts``; return all of them.

        :param given: as of :meth:`create`; ``count``, how many; ``hosts``, names or ``"all"``
        :raises BadRequest: as :meth:`create`; then none is made
        """
        answer = self._post({"plugin": plugin, "method": method, **given}, idempotency_key)
        if given.get("count") is None and given.get("hosts") is None:
            return [answer.decode(Case)]
        found: _Page = answer.decode(_Page)
        return found.testcases

    def dry_run(self, plugin: str, method: str, **given: Any) -> DryRun:
        """Say where a case could run now; none is made.

        :param given: as :meth:`create`
        """
        body = {"plugin": plugin, "method": method, **given}
        query = {"dry_run": "true"}
        answer = self._lab.request("POST", self.PATH, query=query, body=_said(body))
        found: DryRun = answer.decode(DryRun)
        return found

    def _post(self, body: Mapping[str, Any], idempotency_key: str | None) -> Answer:
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._lab.request("POST", self.PATH, body=_said(body), headers=headers)

    def cancel(self, case: str) -> Case:
        """Cancel a case that is not finished; its state says how far that has got.

        :raises Conflict: it is finished
        """
        found: Case = self._lab.request("DELETE", self._item(case)).decode(Case)
        return found

    delete = cancel

    def output(self, case: str, offset: int = 0, follow: bool = False) -> Iterator[bytes]:
        """Yield what a case wrote, as bytes; a line says where some are missing.

        If the connection breaks, the output goes on where it ended.

        :param offset: bytes that are passed over
        :param follow: go on until the case is finished
        :raises NotFound: there is no such case
        :raises ConnectionFailed: the lab was away for too long
        """
        for event in self.events(case, offset, follow):
            if data := shown(event):
                yield data

    def events(
        self, case: str, offset: int = 0, follow: bool = False, timeout: float | None = None
    ) -> Iterator[Event]:
        """Yield what a case wrote piece by piece, and its end.

        :param timeout: seconds after which it is not read any more
        :raises TimedOut: they are over
        """
        return follow_events(self._lab, self._item(case, "output"), offset, follow, timeout)

    def wait(self, case: str, timeout: float | None = None, *, output: bool = True) -> Case:
        """Wait until a case is finished and return it.

        :param timeout: seconds; without one it waits as long as it takes
        :param output: return it with the beginning of its output
        :raises TimedOut: it is not finished by then
        """
        for _ in self.events(case, _BEYOND, follow=True, timeout=timeout):
            pass
        return self.get(case, output=output)

    def run(
        self,
        plugin: str,
        method: str,
        host: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        wait_timeout: float | None = None,
        **more: Unpack[More],
    ) -> Run:
        """Post a case, and return what yields its output as it comes.

        :param wait_timeout: seconds after which its end is not waited for any more
        :param more: as of ``create``
        """
        return Run(self, self.create(plugin, method, host, parameters, **more), wait_timeout)


class Run:
    """A case on its way: iterating yields its output as it comes, until it is finished.

    :ivar case: as it was when the lab was asked last; once the output has ended, it is finished.
        It is without its output, which may be long: that is what iterating yields
    """

    def __init__(self, cases: TestCases, case: Case, timeout: float | None = None) -> None:
        self._cases = cases
        self._timeout = timeout
        self.case = case

    def __iter__(self) -> Iterator[bytes]:
        """Yield the output from its beginning.

        :raises TimedOut: the case takes longer than the caller waits
        """
        for event in self._cases.events(self.case.id, follow=True, timeout=self._timeout):
            if data := shown(event):
                yield data
        self.refresh()

    def refresh(self) -> Case:
        """Ask the lab how the case is now."""
        self.case = self._cases.get(self.case.id, output=False)
        return self.case

    def wait(self, timeout: float | None = None) -> Case:
        """Wait until it is finished, without its output.

        :raises TimedOut: it is not finished within ``timeout`` seconds
        """
        self.case = self._cases.wait(self.case.id, timeout, output=False)
        return self.case

    def cancel(self) -> Case:
        """Cancel it."""
        self.case = self._cases.cancel(self.case.id)
        return self.case


def _said(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a body is said; the rest is left to the lab."""
    return {name: value for name, value in body.items() if value is not None}
