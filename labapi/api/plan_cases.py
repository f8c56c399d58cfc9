"""What the entries of a plan become: the columns of cases, after all checks of a case by itself.

An entry of a plan is like many others of it, so each question is asked once: one statement looks up
hundreds of hosts, parameters are compared once with each schema, and so on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from oslo_config import cfg

from labapi.api import lookup, new_cases, placements
from labapi.api.once import Once
from labapi.api.placements import Asked, Placements
from labapi.api.request import Request
from labapi.api.where import Where
from labapi.case import WANTS
from labapi.db import groups, leases, testcases
from labapi.db.session import Database, Record
from labapi.exceptions import InvalidInput, LabapiError
from labapi.plans.entry import Entry
from labapi.plans.grammar import Plan
from labapi.plans.problems import Problems
from labapi.scheduler import catalogue
from labapi.scheduler.requests import shape
from labapi.scheduler.spec import OnNoHost, Placement, RequestSpec

TOGETHER = 500  # hosts that are looked up by one statement
MAX_WANTS = 2000  # different things that the entries of one plan may ask of hosts
# Seconds of CPU after which parameters and hosts are no longer looked at: agents and the scheduler
# have the last word anyway.
PATIENCE = 1.0

_NEEDED = frozenset(("plugin", "method"))

_encode = msgspec.json.Encoder().encode


class PlanCases:
    """Checks the entries of one plan.

    :param conf: configuration with the group ``[api]``
    :param problems: is given what is wrong
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        where: Where,
        request: Request,
        problems: Problems,
    ) -> None:
        self._conf = conf
        self._once = Once(database)
        self._where = where
        self._request = request
        self._problems = problems
        self._hosts: dict[str, Record | LabapiError] = {}
        self._schemas: dict[tuple[str, str, str], bytes] = {}
        self._mismatches: dict[tuple[bytes, bytes], str | None] = {}
        self._asked: dict[bytes, Asked | LabapiError] = {}
        self._scheduled: list[Entry] = []
        self._for_all = 0.0  # seconds of CPU that were spent on "hosts: all"
        self._until = 0.0

    def columns(self, plan: Plan) -> list[dict[str, Any]]:
        """Return the columns of the case of each entry, if nothing is wrong with any.

        :returns: ``plugin, method, host, parameters, timeout, placement, queue_rank,
            rerun_on_loss``
        """
        self._until = time.thread_time() + PATIENCE
        self._look_up({entry.body["host"] for entry in plan.entries if "host" in entry.body})
        for index, within in enumerate(plan.within):
            self._check_within(f"testplan/{plan.outline[index]['name']}", within)
        found = [self._of(plan, entry) for entry in plan.entries if entry.body.keys() >= _NEEDED]
        self._check_ever()
        return found

    def every(self, body: Mapping[str, Any]) -> list[str]:
        """Return the names of all hosts that can run what a body with ``hosts: all`` asks for.

        :raises InvalidInput, NotFound, Conflict: as :meth:`labapi.api.where.Where.every`
        """
        if self._for_all > PATIENCE:
            raise InvalidInput("hosts: too many entries of this plan are for all hosts")
        placements.check_form(body)
        began = time.thread_time()
        try:
            return self._where.every(self._request, body)
        finally:
            self._for_all += time.thread_time() - began

    def spec(self, entry: Entry) -> RequestSpec:
        """Return what an entry asks for."""
        try:
            asked = self._asked_for(entry.body)
        except LabapiError:  # that is told already
            asked = Asked(Placement())
        return RequestSpec(
            plugin=entry.body["plugin"],
            method=entry.body["method"],
            parameters=_known_parameters(entry),
            project_id=self._request.context.project_id,
            placement=asked.placement,
            same_hosts=asked.same_hosts,
            different_hosts=asked.different_hosts,
        )

    def _of(self, plan: Plan, entry: Entry) -> dict[str, Any]:
        body = {"priority": plan.priority, **entry.body}
        with self._blamed(entry):
            placements.check_form(body)
        host = placement = None
        with self._blamed(entry):
            if "host" in body:
                host = self._host(plan, entry)
            else:
                placement = self._placement(entry)
        with self._blamed(entry):
            new_cases.check_timeout(self._conf, body)
            return new_cases.columns(self._conf, body, host) | {"placement": placement}
        return {}

    def _host(self, plan: Plan, entry: Entry) -> str:
        """Return the name of the host that an entry names, if it can run there."""
        host = self._hosts[entry.body["host"]]
        if isinstance(host, LabapiError):
            raise host
        self._check_held(host.host, plan.within[entry.test_case])
        self._check_offers(host, entry)
        return str(host.host)

    def _placement(self, entry: Entry) -> Any:
        self._scheduled.append(entry)
        return placements.column(self._request, self._asked_for(entry.body).placement)

    @contextmanager
    def _blamed(self, entry: Entry) -> Iterator[None]:
        """Take note of an error of an entry."""
        try:
            yield
        except LabapiError as error:
            self._problems.blame(entry.path, error, "host")

    def _look_up(self, names: Iterable[str]) -> None:
        """Find hosts by name or address."""
        project = self._request.context.project_id
        found: dict[str, list[Record]] = {name: [] for name in names}
        for some in _some(found):
            for row in self._once.read(testcases.targets, some, project):
                found[row.host] = [row]
        addresses = [name for name, rows in found.items() if not rows and testcases.is_ip(name)]
        for some in _some(addresses):
            for row in self._once.read(testcases.targets_at, some, project):
                found[row.address].append(row)
        for name, rows in found.items():
            try:
                self._hosts[name] = lookup.one_host(self._once, self._request, name, rows)
            except LabapiError as error:
                self._hosts[name] = error

    def _check_offers(self, host: Record, entry: Entry) -> None:
        """Check that a host has the method of an entry, and that the parameters fit it."""
        plugin, method = entry.body["plugin"], entry.body["method"]
        offer = (host.plugins, plugin, method)
        if offer not in self._schemas:
            self._schemas[offer] = catalogue.schema_of(host, plugin, method)
        parameters = _known_parameters(entry)
        if parameters is None:
            return
        comparison = (self._schemas[offer], _encode(parameters))
        if comparison not in self._mismatches:
            if time.thread_time() > self._until:
                return
            self._mismatches[comparison] = catalogue.mismatch(self._schemas[offer], parameters)
        problem = self._mismatches[comparison]
        if problem is not None:
            raise InvalidInput(problem)

    def _check_within(self, path: str, within: Mapping[str, str]) -> None:
        """Check that the group and the lease of a test case are there for this caller."""
        try:
            self._asked_for(within)
        except LabapiError as error:
            self._problems.blame(path, error, "group")

    def _check_held(self, host: str, within: Mapping[str, str]) -> None:
        """Check that a host is in the group and the lease in which its test case stays.

        Of those of other projects nothing is said.
        """
        try:
            self._asked_for(within)
        except LabapiError:  # that is told already
            return
        if "group" in within:
            group = self._once.read(groups.get, within["group"])
            if group is not None and host not in group.hosts:
                raise InvalidInput(f"host: {host!r} is not in group {within['group']!r}")
        if "lease" in within:
            lease = self._once.read(leases.get, lookup.uuid_of(within["lease"]) or "")
            if lease is not None and host not in self._once.read(leases.held, lease.id):
                raise InvalidInput(f"host: lease {lease.uuid} does not hold {host!r}")

    def _asked_for(self, body: Mapping[str, Any]) -> Asked:
        """Return what a body asks of a host instead of naming one."""
        wants = {name: body[name] for name in WANTS if name in body}
        key = _encode(wants)
        if key not in self._asked:
            if len(self._asked) == MAX_WANTS:
                raise InvalidInput(
                    f"requires: the entries of a plan ask for at most {MAX_WANTS} different things"
                )
            try:
                self._asked[key] = Placements(self._once).read(self._request, wants)
            except LabapiError as error:
                self._asked[key] = error
        found = self._asked[key]
        if isinstance(found, LabapiError):
            raise found
        return found

    def _check_ever(self) -> None:
        """Check that there ever was a host such as each entry asks for."""
        asking: dict[bytes, tuple[RequestSpec, list[str]]] = {}
        for entry in self._scheduled:
            if entry.body.get("on_no_host") != OnNoHost.WAIT:
                spec = self.spec(entry)
                asking.setdefault(shape(spec), (spec, []))[1].append(entry.path)
        specs, paths = [spec for spec, _ in asking.values()], [path for _, path in asking.values()]
        for index, problem in self._where.problems(self._request, specs, self._until).items():
            for path in paths[index]:
                self._problems.blame(path, problem, "requires")


def _known_parameters(entry: Entry) -> dict[str, Any] | None:
    """Return the parameters of an entry, None where what is registered has yet to be put in."""
    found: dict[str, Any] = entry.body.get("parameters", {})
    return None if entry.rules.uses else found


def _some(names: Iterable[str]) -> Iterator[list[str]]:
    """Return names, ``TOGETHER`` at a time."""
    every = list(names)
    for index in range(0, len(every), TOGETHER):
        yield every[index : index + TOGETHER]
