"""Finding what a URL or a body names; what is not there is named in the error."""

from __future__ import annotations

import difflib
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from labapi.api import host_guard
from labapi.api.access import Policy
from labapi.api.request import Request
from labapi.context import RequestContext
from labapi.db import hosts, testcases
from labapi.db.session import Database, Record
from labapi.exceptions import Forbidden, InvalidInput, NotFound

SHOWN = 20  # names listed in an error

# A UUID as the API writes it; others are understood, too.
_is_canonical = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


def slave(database: Database, slave_id: str) -> Record:
    """Return the host that a URL names, by number or UUID.

    :raises NotFound: there is none, or this is no id
    """
    host = database.read(hosts.get, _key(slave_id))
    if host is None:
        raise NotFound(f"there is no slave {slave_id}; GET /v2.1/slaves lists them")
    return host


def host_named(database: Database, environ: Mapping[str, Any], name: str) -> Record:
    """Return the host that a case names, by host name or address, and how busy it is.

    :raises NotFound: there is none; the text lists what this client may know of
    :raises InvalidInput: the address is that of several hosts; the text lists likewise
    """
    found = database.read(testcases.target, name)
    if not found:
        first = database.read(hosts.page, after=0, limit=SHOWN + 1, whole=False)
        known = [host.host for host in first if not host_guard.hidden(environ, host.meta)]
        raise NotFound(f"host: there is no host {name!r}; {there_is(known)}")
    if len(found) > 1:
        known = [host.host for host in found if not host_guard.hidden(environ, host.meta)]
        raise InvalidInput(f"host: {name!r} is the address of several hosts; {there_is(known)}")
    return found[0]


def testcase(database: Database, testcase_id: str) -> Record:
    """Return the case that a URL names.

    :raises NotFound: there is none, or this is no id
    """
    try:
        case_id = str(uuid.UUID(testcase_id))
    except ValueError:
        raise NotFound(
            f"{testcase_id[:64]!r} is not the id of a test case: expected a UUID"
        ) from None
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
    host_guard.check(request.environ, found.host_meta)
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


def there_is(names: Iterable[str], wanted: str = "") -> str:
    """Say what there is, and what of it may be meant, for an error's text."""
    known = sorted(names)
    if not known:
        return "there is none yet"
    nearest = difflib.get_close_matches(wanted, known, 1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    more = ", …" if len(known) > SHOWN else ""
    return f"known: {', '.join(known[:SHOWN])}{more}{hint}"


def _key(text: str) -> int | str:
    """Read what a URL calls a host by.

    :raises NotFound: this is neither an id nor a UUID
    """
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    if _is_canonical(text):
        return text
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise NotFound(
            f"{text[:64]!r} is not the id of a slave: expected the number or the UUID that"
            " GET /v2.1/slaves shows"
        ) from None
