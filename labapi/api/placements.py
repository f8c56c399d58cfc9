"""What a body asks for instead of naming a host, checked as far as no host is needed for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from labapi import json_schema
from labapi.api import host_guard, lookup
from labapi.api.once import Once
from labapi.api.request import Request
from labapi.case import WANTS, State
from labapi.db import host_use, leases, testcases
from labapi.db.session import Database, Record
from labapi.exceptions import InvalidInput, NotFound
from labapi.known import there_is
from labapi.scheduler import requirements, spec
from labapi.scheduler.spec import OnNoHost, Placement

ALL = "all"  # as the value of "hosts"
MAX_CASES = 32  # cases in same_host_as and in different_host_from
MAX_STEPS = 8  # from a case that waits to the one on whose host it is to run


class Asked(NamedTuple):
    """What a body asks for.

    :ivar same_hosts: names of hosts as :class:`labapi.scheduler.spec.RequestSpec` has them
    :ivar different_hosts: likewise
    """

    placement: Placement
    same_hosts: frozenset[str] | None = None
    different_hosts: frozenset[str] = frozenset()


def check_form(body: Mapping[str, Any]) -> None:
    """Check that what a body asks for goes together.

    :raises InvalidInput: it does not; the text names the fields
    """
    wants = [name for name in (*WANTS, "count", "hosts") if name in body]
    if "host" in body and wants:
        raise InvalidInput(
            f"{wants[0]}: a case that names its host asks for no other one; leave out 'host' or"
            f" {wants[0]!r}"
        )
    if "hosts" not in body:
        return
    if "count" in body:
        raise InvalidInput("count: 'hosts' says already how many; leave out one of them")
    if body["hosts"] == ALL:
        wants = [name for name in ("prefer", "on_no_host") if name in body]
        if wants:
            raise InvalidInput(f"{wants[0]}: with hosts 'all' no host is chosen; leave it out")
    elif isinstance(body["hosts"], str):
        raise InvalidInput("hosts: expected 'all' or a list of names of hosts")
    elif wants != ["hosts"]:
        raise InvalidInput(f"{wants[0]}: 'hosts' names the hosts; leave out one of them")


def column(request: Request, placement: Placement) -> Any:
    """Return a placement as a row keeps it, with what tells later which hosts the client may reach.

    :raises Forbidden: the guard of hosts tells nothing that could be asked later
    """
    client, access = host_guard.access(request.environ)
    return spec.stored(msgspec.structs.replace(placement, client=client, access=access))


class Placements:
    """Reads what bodies ask for."""

    def __init__(self, database: Database | Once) -> None:
        self._database = database

    def read(self, request: Request, body: Mapping[str, Any]) -> Asked:
        """Return what a body asks of a host.

        :raises InvalidInput: it cannot be used; the text says why
        :raises NotFound: it names a group, a lease or a case that is not there for this caller
        """
        project = request.context.project_id
        placement = Placement(
            requires=_sentences(body, "requires"),
            prefer=_sentences(body, "prefer"),
            group=self._group(body.get("group"), project),
            zone=body.get("zone"),
            lease=self._lease(body.get("lease"), project),
            same_host_as=_cases(body, "same_host_as"),
            different_host_from=_cases(body, "different_host_from"),
            on_no_host=OnNoHost(body.get("on_no_host", OnNoHost.WAIT)),
            client=host_guard.client(request.environ),
        )
        return self._related(request, placement)

    def _group(self, name: str | None, project: str | None) -> str | None:
        if name is not None:
            known = self._database.read(host_use.groups_for, project)
            if name not in known:
                raise NotFound(
                    f"group: there is no group {name!r} that your project may use;"
                    f" {there_is(known, name)}"
                )
        return name

    def _lease(self, text: str | None, project: str | None) -> str | None:
        if text is None:
            return None
        lease = self._database.read(leases.get, lookup.uuid_of(text) or "")
        if lease is None or lease.project_id != project:
            raise NotFound(f"lease: your project has no lease {text!r}")
        if lease.ended_at is not None:
            raise InvalidInput(f"lease: {lease.uuid} has ended")
        return str(lease.uuid)

    def _related(self, request: Request, placement: Placement) -> Asked:
        """Look up the cases that a placement names."""
        same, different = placement.same_host_as, placement.different_host_from
        if not same and not different:
            return Asked(placement)
        cases = self._own(request, {"same_host_as": same, "different_host_from": different})
        wanted = {case.host: case.uuid for case in map(cases.__getitem__, same) if case.host}
        if len(wanted) > 1:
            first, second = list(wanted.values())[:2]
            raise InvalidInput(f"same_host_as: {first} and {second} are on different hosts")
        avoided = {case.host for case in map(cases.__getitem__, different) if case.host}
        self._check_possible(cases, same, different)
        placed = all(cases[case].host for case in same)
        return Asked(
            placement,
            (frozenset(wanted) if placed else frozenset()) if same else None,
            frozenset(avoided),
        )

    def _own(self, request: Request, named: Mapping[str, Sequence[str]]) -> dict[str, Record]:
        """Return cases of the caller's project by their UUIDs, ``named`` by some fields."""
        every = sorted({case for cases in named.values() for case in cases})
        found = {case.uuid: case for case in self._database.read(testcases.placed, every)}
        for field, cases in named.items():
            for case in cases:
                if case not in found or found[case].project_id != request.context.project_id:
                    raise NotFound(f"{field}: there is no test case {case}")
                host_guard.check_case(request.environ, found[case])
        return found

    def _check_possible(
        self, cases: Mapping[str, Record], same: Sequence[str], different: Sequence[str]
    ) -> None:
        """Check that some host can be that of all ``same`` cases and of no ``different`` one.

        :raises InvalidInput: none can be
        """
        for case in same:
            if cases[case].host is None and cases[case].state == State.FINISHED:
                raise InvalidInput(f"same_host_as: case {case} ended without a host")
        together = {case: self._together(cases[case]) for case in {*same, *different}}
        for one in same:
            for other in different:
                if together[one] & together[other]:
                    raise InvalidInput(
                        f"different_host_from: {other} is to be on the host of {one}, which"
                        " same_host_as names"
                    )

    def _together(self, case: Record) -> set[str]:
        """Return what is on the host of a case for certain: names of a host, UUIDs of cases."""
        found: set[str] = {case.uuid}
        rows: Sequence[Record] = [case]
        for _ in range(MAX_STEPS):
            found |= {row.host for row in rows if row.host}
            waiting = [row for row in rows if not row.host and row.placement]
            named = {other for row in waiting for other in spec.read(row.placement).same_host_as}
            following = sorted(named - found)
            if not following:
                break
            found |= named
            rows = self._database.read(testcases.placed, following)
        return found


def _sentences(body: Mapping[str, Any], field: str) -> tuple[str, ...]:
    sentences = json_schema.texts(field, body.get(field, ()), requirements.MAX_SENTENCES)
    requirements.parse_all(field, sentences)
    return sentences


def _cases(body: Mapping[str, Any], field: str) -> tuple[str, ...]:
    given = json_schema.texts(field, body.get(field, ()), MAX_CASES)
    found = [lookup.uuid_of(text) for text in given]
    for text, case in zip(given, found, strict=True):
        if case is None:
            raise InvalidInput(f"{field}: {text[:64]!r} is not the id of a test case")
    return json_schema.texts(field, found, MAX_CASES)
