"""Finding what a URL or a body names; what is not there is named in the error."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence

from labapi import json_schema
from labapi.api import host_guard
from labapi.api.access import Policy
from labapi.api.once import Once
from labapi.api.request import Request
from labapi.context import RequestContext
from labapi.db import hosts, leases, services, testcases, testplans
from labapi.db.session import Database, Record
from labapi.exceptions import Forbidden, InvalidInput, NotFound
from labapi.known import SHOWN, there_is

SHOWN_NAME = 64  # characters of a wrong name that an error repeats
MAX_NAME = 255  # characters of a host's name

# A UUID as the API writes it; others are understood, too.
_is_canonical = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


def slave(database: Database, slave_id: str) -> Record:
    """Return the host that a URL names, by number, UUID or name.

    :raises NotFound: there is none
    """
    host = None
    if _is_number(slave_id):
        host = database.read(hosts.get, int(slave_id))
    elif (key := uuid_of(slave_id)) is not None:
        host = database.read(hosts.get, key)
    # A name may look like an id; what is one comes first.
    if host is None and len(slave_id) <= MAX_NAME:
        host = database.read(hosts.named, slave_id)
    if host is None:
        raise NotFound(f"there is no slave {slave_id[:SHOWN_NAME]}; GET /v2.1/slaves lists them")
    return host


def host_named(database: Database, request: Request, name: str) -> Record:
    """Return the host that a case names, by host name or address.

    :raises NotFound: there is none; the text lists what this client may know of
    :raises Forbidden: it is guarded or in groups, and this caller may not run on it
    :raises InvalidInput: the address is that of several hosts; the text lists likewise
    """
    found = database.read(testcases.target, name, request.context.project_id)
    return one_host(database, request, name, found)


def one_host(
    database: Database | Once, request: Request, name: str, found: Sequence[Record]
) -> Record:
    """Return the host that a case names, of those of this name or with this address.

    :raises NotFound, Forbidden, InvalidInput: as with :func:`host_named`
    """
    environ = request.environ
    if not found:
        first = database.read(hosts.page, after=0, limit=SHOWN + 1, whole=False)
        known = [host.host for host in first if not host_guard.hidden(environ, host.meta)]
        raise NotFound(f"host: there is no host {name[:MAX_NAME]!r}; {there_is(known)}")
    if len(found) > 1:
        known = [host.host for host in found if not host_guard.hidden(environ, host.meta)]
        raise InvalidInput(f"host: {name!r} is the address of several hosts; {there_is(known)}")
    _check_usable(request, found[0], "host")
    return found[0]


def hosts_named(
    database: Database, request: Request, given: Iterable[str], most: int
) -> Sequence[Record]:
    """Return the hosts of some names, in their order, as :func:`host_named` does.

    :param most: how many they may be
    :raises InvalidInput: they are none or too many, or one is there twice
    :raises NotFound: there is no host of one of these names
    :raises Forbidden: one is guarded or in groups, and this caller may not run on it
    """
    names = json_schema.texts("hosts", given, most)
    if not names:
        raise InvalidInput("hosts: name at least one host, or say 'all'")
    rows = database.read(testcases.targets, names, request.context.project_id)
    found = {host.host: host for host in rows}
    for name in names:
        if name not in found:
            raise NotFound(
                f"hosts: there is no host {name[:SHOWN_NAME]!r}; GET /v2.1/slaves lists them"
            )
        _check_usable(request, found[name], "hosts")
    return [found[name] for name in names]


def _check_usable(request: Request, host: Record, field: str) -> None:
    host_guard.check(request.environ, host.meta)
    if host.closed:
        raise Forbidden(f"{field}: {host.host!r} is in a group that your project may not use")


def service(database: Database, service_id: str) -> Record:
    """Return the service that a URL names, by number.

    :raises NotFound: there is none, or this is no number
    """
    known = _is_number(service_id)
    found = database.read(services.get, int(service_id)) if known else None
    if found is None:
        raise NotFound(f"there is no service {service_id[:64]!r}; GET /v2.1/services lists them")
    return found


def lease(database: Database, lease_id: str) -> Record:
    """Return the lease that a URL names.

    :raises NotFound: there is none, or this is no id
    """
    key = uuid_of(lease_id)
    found = database.read(leases.get, key) if key else None
    if found is None:
        raise no_lease(lease_id)
    return found


def no_lease(lease_id: str) -> NotFound:
    """Return what is answered where there is no such lease, or none for this caller."""
    return NotFound(f"there is no lease {lease_id[:64]!r}; GET /v2.1/leases lists them")


def testcase(database: Database, testcase_id: str) -> Record:
    """Return the case that a URL names.

    :raises NotFound: there is none, or this is no id
    """
    case_id = uuid_of(testcase_id)
    if case_id is None:
        raise NotFound(f"{testcase_id[:64]!r} is not the id of a test case: expected a UUID")
    case = database.read(testcases.get, case_id)
    if case is None:
        raise NotFound(f"there is no test case {case_id}")
    return case


def visible_testcase(database: Database, policy: Policy, request: Request, case: str) -> Record:
    """Return the case that a URL names, if the caller may see it.

    :raises NotFound: there is none, or none for this caller
    :raises Forbidden: its host is guarded, and this client may not see what ran there
    """
    found = own_testcase(database, policy, request.context, case)
    host_guard.check_case(request.environ, found)
    return found


def own_testcase(
    database: Database, policy: Policy, context: RequestContext, testcase_id: str
) -> Record:
    """Return the case that a URL names, if the caller may know of it.

    :raises NotFound: there is none, or none for this caller
    """
    case = testcase(database, testcase_id)
    try:
        policy.check(context, "testcases:show", case.project_id)
    except Forbidden:  # the log says so, and the client does not learn that there is such a case
        raise NotFound(f"there is no test case {case.uuid}") from None
    return case


def visible_testplan(database: Database, policy: Policy, request: Request, plan: str) -> Record:
    """Return the test plan that a URL names, if the caller may see it.

    :returns: as :func:`labapi.db.testplans.get`
    :raises NotFound: there is none, or none for this caller
    """
    key = uuid_of(plan)
    found = database.read(testplans.get, key) if key else None
    missing = NotFound(f"there is no test plan {plan[:64]!r}; GET /v2.1/testplans lists them")
    if found is None:
        raise missing
    try:
        policy.check(request.context, "testplans:show", found.project_id)
    except Forbidden:  # the log says so, and the client does not learn that there is such a plan
        raise missing from None
    return found


def uuid_of(text: str) -> str | None:
    """Return a UUID as the API writes it, None for a text that is none."""
    if _is_canonical(text):
        return text
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
