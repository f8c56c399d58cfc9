"""Which containers a request in a Swift proxy reaches, and whether its client may.

Swift asks ``environ['swift.authorize']`` before it touches a container or an object, for the
client's request and for each of the requests that its own filters make on the way: copies,
segments, the targets of symlinks, versions. The guard stands in that hook, behind the hook that
authentication has put there: it is asked only when Swift has said yes, so that it never tells
more than Swift does.

This module and :mod:`labapi_middleware.swift` import Swift, and are themselves imported only when
the option ``source`` says ``swift``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from swift.common.constraints import AUTO_CREATE_ACCOUNT_PREFIX, valid_api_version
from swift.common.http import is_success
from swift.common.swob import (
    HTTPBadRequest,
    HTTPException,
    HTTPForbidden,
    HTTPNotFound,
    str_to_wsgi,
)
from swift.common.utils import RESERVED
from swift.obj.expirer import parse_task_obj
from swift.proxy.controllers.base import get_account_info, get_container_info

from labapi_middleware.allow_rules import Client, Rules, client_of
from labapi_middleware.ip_whitelist import UNAVAILABLE
from labapi_middleware.log_text import path as log_path
from labapi_middleware.log_text import printable

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

LOG = logging.getLogger(__name__)

# Swift copies the infocache, by reference, into every request that a filter of its makes; the
# client's address is not among what it copies.
INFOCACHE = "swift.infocache"
VISIT = "labapi_middleware.visit"
SOURCE = "IPW"  # the name of our look-ups in Swift's access log

USER_HEADER = "x-container-meta-"
OWNER_HEADER = "x-container-ip-whitelist-"
SYSTEM_KEY = "ip-whitelist-"
SYSTEM_HEADER = f"x-container-sysmeta-{SYSTEM_KEY}"

_GONE = (404, 410)


class NoContainerError(Exception):
    """There is no such container, or no such account."""


class UnknownContainerError(Exception):
    """Swift cannot say at the moment what metadata a container has."""


@dataclass(frozen=True)
class Refusal:
    """An answer that is not Swift's.

    :ivar status: 403: the client is on no list; 503: the lists cannot be read
    :ivar message: for the client
    :ivar retry_after: seconds, of a 503
    """

    status: int
    message: str
    retry_after: int = 0

    def headers(self) -> dict[str, str]:
        """Return the headers of the answer, without its length."""
        headers = {"Content-Type": "text/plain; charset=UTF-8"}
        if self.retry_after:
            headers["Retry-After"] = str(self.retry_after)
        return headers


# Swift's own answer, where there is nothing to guard.
_NOT_THERE = Refusal(404, "")


@dataclass
class Visit:
    """One request of a client, with all the requests that Swift's filters make of it.

    :ivar refusal: the first one, if there was any
    :ivar known: the verdict on each (account, container) that exists
    """

    client: Client
    refusal: Refusal | None = None
    known: dict[tuple[str, str], Refusal | None] = field(default_factory=dict)


def visit_of(environ: WSGIEnvironment) -> Visit:
    """Return the visit that a request belongs to; a new one if it came past the filter."""
    infocache = environ.setdefault(INFOCACHE, {})
    visit = infocache.get(VISIT)
    if visit is None:
        visit = infocache[VISIT] = Visit(client_of(environ))
    assert isinstance(visit, Visit)  # noqa: S101 - the key is ours
    return visit


class ContainerGuard:
    """Says whether a request may reach its container.

    :param rules: who may reach what
    :param system: lists are system metadata, which the owner sets by headers of their own
    :param message: for clients that are refused
    :param retry_after: seconds that a client is asked to wait when lists cannot be read
    """

    def __init__(self, rules: Rules, *, system: bool, message: str, retry_after: int) -> None:
        self._rules = rules
        self._system = system
        self._denied = Refusal(403, message)
        self._unavailable = Refusal(503, UNAVAILABLE, retry_after)
        self.app: Any = None  # what Swift's look-ups start from; set when the pipeline is known

    def __call__(self, request: Any) -> Any:
        """Return what answers the request instead of Swift, or None.

        :param request: a ``swob.Request`` that authentication has let pass
        """
        # A preflight has no credentials and gets nothing but what the owner has said about
        # origins; Swift answers it to everybody. What it asks for is guarded.
        if request.method == "OPTIONS":
            return None
        try:
            version, account, container, obj = request.split_path(1, 4, True)
        except ValueError:
            return None  # Swift has nothing at such a path
        if not container or not valid_api_version(version):
            return None
        for reached in _reached(request, account, container, obj or ""):
            refusal = self._refusal(request.environ, *reached)
            if refusal is _NOT_THERE:
                return HTTPNotFound(request=request)
            if refusal is not None:
                # Some of Swift's filters return what refuses a request, some raise it.
                return HTTPException(
                    refusal.message,
                    status=refusal.status,
                    headers=refusal.headers(),
                    request=request,
                )
        if request.method in ("PUT", "POST") and not obj:
            return self._lists_being_set(request)
        return None

    def _refusal(
        self, environ: WSGIEnvironment, account: str, container: str, obj: str
    ) -> Refusal | None:
        """Return why the client of a request may not reach a container, or an object in it."""
        visit = visit_of(environ)
        try:
            refusal = self._verdict(environ, visit, account, container)
        except UnknownContainerError as error:
            refusal = self._unavailable
            if visit.refusal != refusal:
                self._log(environ, visit, f"unavailable: {error}", error.__cause__)
        except NoContainerError:
            # Swift would look for the object all the same, and find one that was left behind.
            return _NOT_THERE if obj else None
        if refusal is not None and visit.refusal is None:
            visit.refusal = refusal
        return refusal

    def _verdict(
        self, environ: WSGIEnvironment, visit: Visit, account: str, container: str
    ) -> Refusal | None:
        key = account, container
        if key not in visit.known:
            metadata = self._metadata(environ, account, container)
            reason = self._rules.denied(visit.client, metadata)
            if reason is not None:
                self._log(environ, visit, f"denied: {printable('/'.join(key))}: {reason}")
            visit.known[key] = None if reason is None else self._denied
        return visit.known[key]

    def _metadata(
        self, environ: WSGIEnvironment, account: str, container: str
    ) -> Mapping[str, str]:
        """Return the container's metadata that may hold lists.

        :raises NoContainerError: there is no such container
        :raises UnknownContainerError: Swift cannot say
        """
        at = {**environ, "PATH_INFO": f"/v1/{account}/{container}"}
        try:
            info = get_container_info(at, self.app, swift_source=SOURCE)
            status = info["status"]
            if status == 0:  # no answer about the account, or no account
                at["PATH_INFO"] = f"/v1/{account}"
                status = get_account_info(at, self.app, swift_source=SOURCE)["status"]
                if is_success(status):
                    status = 0
        except Exception as error:  # whatever is wrong, it must not open anything
            raise UnknownContainerError(f"{type(error).__name__} in the look-up") from error
        if status in _GONE:
            raise NoContainerError
        if not is_success(status):
            raise UnknownContainerError(f"the look-up's status is {status}")
        if not self._system:
            return {k: v for k, v in info["meta"].items() if self._rules.is_list(k)}
        return {
            f"{self._rules.prefix}-{key.removeprefix(SYSTEM_KEY)}": value
            for key, value in info["sysmeta"].items()
            if key.startswith(SYSTEM_KEY)
        }

    def _lists_being_set(self, request: Any) -> Any:
        """Check the lists in a request that sets a container's metadata."""
        for header, value in list(request.headers.items()):
            name = header.lower()
            if self._system and name.startswith(OWNER_HEADER):
                if not request.environ.get("swift_owner"):
                    return HTTPForbidden(
                        "Only the owner of the account can set an allow list.\n",
                        request=request,
                        content_type="text/plain",
                    )
                key = f"{self._rules.prefix}-{name.removeprefix(OWNER_HEADER)}"
                request.headers[SYSTEM_HEADER + name.removeprefix(OWNER_HEADER)] = value
            elif not self._system and name.startswith(USER_HEADER):
                key = name.removeprefix(USER_HEADER)
            else:
                continue
            problem = self._rules.problem(key, value)
            if problem is not None:
                return HTTPBadRequest(
                    f"{header}: {problem}\n", request=request, content_type="text/plain"
                )
        return None

    def _log(
        self,
        environ: WSGIEnvironment,
        visit: Visit,
        what: str,
        cause: BaseException | None = None,
    ) -> None:
        LOG.warning(
            "%s %s %s %s %s",
            environ.get("swift.trans_id", "-"),
            printable(visit.client.text or "-"),
            printable(environ["REQUEST_METHOD"]),
            log_path(environ),
            what,
            exc_info=cause,
        )


def _reached(
    request: Any, account: str, container: str, obj: str
) -> Iterator[tuple[str, str, str]]:
    """Yield account, container and object (or an empty string) that a request reaches.

    :param account: of the request's path, as are container and object: native strings of WSGI
    """
    if account.startswith(AUTO_CREATE_ACCOUNT_PREFIX):
        # Accounts of Swift's own. A large object that is deleted asynchronously leaves the names
        # of its segments here, for the expirer, which does not ask again.
        if request.method == "UPDATE":
            for job in json.loads(request.body):
                _, *segment = parse_task_obj(job["name"])
                of_account, of_container, of_object = map(str_to_wsgi, segment)
                yield of_account, of_container, of_object
        return
    if container.startswith(RESERVED):
        # The versions of the objects of CONTAINER lie in <RESERVED>versions<RESERVED>CONTAINER,
        # which nobody but Swift can address: what guards the one guards the other.
        container = container.rpartition(RESERVED)[2]
    yield account, container, obj
