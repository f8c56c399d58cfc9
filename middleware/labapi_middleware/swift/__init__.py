"""The source ``swift`` of ``ip_whitelist``: container metadata, in an OpenStack Swift proxy.

``[filter:ip_whitelist]``
    ``use = egg:labapi-middleware#ip_whitelist``
    ``source = swift``

The filter stands once in the pipeline, left of ``bulk``, ``tempurl``, ``formpost`` and
authentication, because requests that these make for a client do not have its address. It notes the
address there, and places a checkpoint at every link of the pipeline to its right, when Swift tells
it the pipeline. A checkpoint makes sure that ``swift.authorize`` is guarded (see
:mod:`labapi_middleware.swift.checkpoints` and :mod:`labapi_middleware.swift.guard`), whoever put it
there, and whoever calls it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from swift.common.registry import register_swift_info
from swift.common.utils import get_logger

from labapi_middleware.allow_rules import Rules, client_of
from labapi_middleware.environ import REQUEST_ID
from labapi_middleware.faults import respond, status_line
from labapi_middleware.filter import Conf, Option, choice
from labapi_middleware.ip_whitelist import (
    CLOSED_BY_DEFAULT,
    DENY_MESSAGE,
    NAME,
    PREFIX,
    RETRY_AFTER,
    UNAVAILABLE,
)
from labapi_middleware.swift.checkpoints import SwiftOptionError, place_checkpoints
from labapi_middleware.swift.guard import (
    INFOCACHE,
    SYSTEM_HEADER,
    VISIT,
    ContainerGuard,
    Visit,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)

METADATA = Option(
    "metadata",
    "user",
    choice("user", "system"),
    "Which container metadata hold lists: user, as 'swift post --meta' sets them, or system.",
)


class SwiftProxy:
    """What stands in the pipeline of a Swift proxy when ``source = swift``.

    :param app: the filter with the option ``allow``, and the pipeline right of it
    """

    options = (METADATA,)
    error = SwiftOptionError

    def __init__(self, app: WSGIApplication, rules: Rules, conf: Conf) -> None:
        self.app = app
        self._system = conf[METADATA] == "system"
        self._guard = ContainerGuard(
            rules,
            system=self._system,
            message=conf[DENY_MESSAGE],
            retry_after=conf[RETRY_AFTER],
        )
        self._later = [("Retry-After", str(conf[RETRY_AFTER]))]
        self._elements: list[Any] | None = None
        # Everything in this package logs where, and how, Swift does.
        get_logger(conf.written, name=NAME, log_route=__package__)
        register_swift_info(
            NAME,
            metadata=conf[METADATA],
            prefix=conf[PREFIX],
            closed_by_default=conf[CLOSED_BY_DEFAULT],
        )

    @property
    def _pipeline(self) -> list[Any] | None:
        return self._elements

    @_pipeline.setter
    def _pipeline(self, pipeline: list[Any]) -> None:
        """Take the pipeline, which Swift tells each filter when it has built them all."""
        if self._elements is None:
            self._guard.app = self
            place_checkpoints(pipeline, self, self._guard)
        self._elements = pipeline

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Note who the client is and hand the request on."""
        environ.setdefault(REQUEST_ID, environ.get("swift.trans_id", "-"))
        if self._elements is None:
            LOG.error("filter %s: this pipeline is not one that Swift has built", NAME)
            return respond(environ, start_response, 503, UNAVAILABLE, self._later)
        visit = Visit(client_of(environ))
        environ.setdefault(INFOCACHE, {})[VISIT] = visit
        answer = _Answer(environ, start_response, visit, system=self._system)
        result = self.app(environ, answer.start)
        return answer.body(result)


class _Answer:
    """The answer on its way to the client.

    Where a part of a request was refused (a segment, the target of a symlink), Swift's filters
    answer with a status of their own making, 409 or 503, say. The client gets the refusal instead,
    unless a 401 or an S3 document says it already.
    """

    def __init__(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        visit: Visit,
        *,
        system: bool,
    ) -> None:
        self._environ = environ
        self._start_response = start_response
        self._visit = visit
        self._system = system
        self._started = False
        self._body: list[bytes] | None = None

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """Stand in for the server's ``start_response``."""
        self._started = True
        self._body = None
        refusal = self._visit.refusal
        if refusal is not None and _is_made_of_it(status, headers):
            body = refusal.message.encode()
            status = status_line(refusal.status)
            headers = [
                *((name, value) for name, value in headers if _is_kept(name)),
                *refusal.headers().items(),
                ("Content-Length", str(len(body))),
            ]
            self._body = [] if self._environ["REQUEST_METHOD"] == "HEAD" else [body]
        elif self._system and self._environ.get("swift_owner"):
            headers = [*headers, *_lists_for_the_owner(headers)]
        return self._start_response(status, headers, exc_info)

    def body(self, result: Iterable[bytes]) -> Iterable[bytes]:
        """Return the body: Swift's, or that of the refusal."""
        if self._started and self._body is None:
            return result
        return self._once_started(result)

    def _once_started(self, result: Iterable[bytes]) -> Iterator[bytes]:
        # Some of Swift's filters start their answer when its first chunk is asked for.
        try:
            for chunk in result:
                if self._body is not None:
                    break
                yield chunk
            yield from self._body or ()
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()


def _is_made_of_it(status: str, headers: list[tuple[str, str]]) -> bool:
    return (
        status.startswith(("4", "5"))
        and not status.startswith("401")
        and not any(name.lower().startswith("x-amz-") for name, _ in headers)
    )


def _is_kept(name: str) -> bool:
    name = name.lower()
    return name.startswith("access-control-") or name in ("vary", "x-trans-id", "date")


def _lists_for_the_owner(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [
        ("X-Container-" + name[len("x-container-sysmeta-") :].title(), value)
        for name, value in headers
        if name.lower().startswith(SYSTEM_HEADER)
    ]
