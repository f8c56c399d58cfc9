"""Refuse request bodies that are too large.

``[filter:sizelimit]``
    ``use = egg:labapi-middleware#sizelimit``

    ``max_request_body_size = 114688``
        The largest body, in bytes.

    ``larger_bodies =``
        URLs that take more: paths as clients write them, each with a size in bytes, as in
        ``/v2.1/testplans 6291456``, separated by commas.

A body whose ``Content-Length`` says that it is larger gets a 413 fault before any of it is read.
What comes without a length (chunked) is counted while the application reads it, and gets the same
answer when it becomes too large. A ``Content-Length`` that is not a number gets a 400.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from labapi_middleware import faults
from labapi_middleware.client_input import ClientInput, has_body
from labapi_middleware.filter import Conf, Filter, Option, comma_list, factory, integer
from labapi_middleware.log_text import request_line

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)

_MOST = 2**63 - 1
_LONGEST_NUMBER = 20  # digits; the largest size that the options take has 19

MAX_REQUEST_BODY_SIZE = Option(
    "max_request_body_size", "114688", integer(0, _MOST), "The largest request body, in bytes."
)


def _sizes(value: str) -> dict[str, int]:
    """Return the largest body of each path of a list."""
    expected = "expected paths with a size each, such as /v2.1/testplans 6291456"
    found = {}
    for item in comma_list(value):
        path, _, size = item.rpartition(" ")
        number = size.isascii() and size.isdigit() and len(size) < _LONGEST_NUMBER
        if not path.startswith("/") or not number or int(size) > _MOST:
            raise ValueError(expected)
        found[path.strip().rstrip("/")] = int(size)
    return found


LARGER_BODIES = Option(
    "larger_bodies", "", _sizes, "Paths that take more, each with its largest body in bytes."
)


class _TooLargeError(Exception):
    """More was read than is allowed; never seen outside of this module."""


class _LimitedInput(ClientInput):
    """Ends with :class:`_TooLargeError` what goes on for too long.

    :param left: bytes that may be read
    """

    def __init__(self, wrapped: Any, left: int) -> None:
        super().__init__(wrapped)
        self._left = left

    def _read(self, method: str, size: int) -> bytes:
        # One byte more than allowed is enough to know, so no more than that is ever held.
        most = self._left + 1
        data = super()._read(method, most if size < 0 else min(size, most))
        self._left -= len(data)
        if self._left < 0:
            raise _TooLargeError
        return data

    def read(self, size: int | None = -1) -> bytes:
        """Read up to ``size`` bytes; without a size up to the end or the limit."""
        if size is not None and size >= 0:
            return self._read("read", size)
        parts = []
        while part := self._read("read", -1):  # a server may return less than it was asked for
            parts.append(part)
        return b"".join(parts)


class SizeLimit(Filter):
    """Answer 413 to what is larger than its URL takes."""

    name = "sizelimit"
    options = (MAX_REQUEST_BODY_SIZE, LARGER_BODIES)

    def __init__(self, app: WSGIApplication, conf: Conf) -> None:
        super().__init__(app, conf)
        self.limit = conf[MAX_REQUEST_BODY_SIZE]
        self.larger = conf[LARGER_BODIES]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Look at the length, or count."""
        if not has_body(environ):
            return self.app(environ, start_response)
        limit = self._limit(environ) if self.larger else self.limit
        length = environ.get("CONTENT_LENGTH") or ""
        if length:
            # int() takes "+5", " 5" and "5_0", and other servers on the way read those otherwise.
            if not (length.isascii() and length.isdigit()) or len(length) > _LONGEST_NUMBER:
                LOG.info("%s denied: Content-Length is not a number", request_line(environ))
                return faults.respond(
                    environ, start_response, 400, "Content-Length is not a number of bytes."
                )
            if int(length) > limit:
                return self._too_large(environ, start_response, limit)
        return self._counted(environ, start_response, limit)

    def _limit(self, environ: WSGIEnvironment) -> int:
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        return self.larger.get(path.rstrip("/"), self.limit)

    def _counted(
        self, environ: WSGIEnvironment, start_response: StartResponse, limit: int
    ) -> Iterable[bytes]:
        # Also with a length: beside a Transfer-Encoding it means nothing.
        environ["wsgi.input"] = _LimitedInput(environ["wsgi.input"], limit)
        started = False

        def note(*args: Any) -> Any:
            nonlocal started
            started = True
            return start_response(*args)

        try:
            return self.app(environ, note)
        except _TooLargeError as error:
            # Where nothing was said yet this is an answer like any other. Filters made with WebOb
            # raise the exception again when they are shown one.
            exc_info = (type(error), error, error.__traceback__) if started else None
            return self._too_large(environ, start_response, limit, exc_info)

    def _too_large(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        limit: int,
        exc_info: Any = None,
    ) -> Iterable[bytes]:
        LOG.info("%s denied: the body is larger than %d bytes", request_line(environ), limit)
        return faults.respond(
            environ,
            start_response,
            413,
            f"The request's body is too large; the limit is {limit} bytes.",
            exc_info=exc_info,
        )


filter_factory = factory(SizeLimit)
