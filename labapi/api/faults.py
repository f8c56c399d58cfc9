"""From an error of the domain to an HTTP answer: the one module that knows both.

Errors that nobody expects are not caught here: the ``faultwrap`` filter answers for them, so that
their text never reaches a client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import webob
from oslo_log import log

from labapi import exceptions
from labapi.api.request import TooLarge, UnsupportedMediaType, json_response
from labapi.context import REQUEST_ID

LOG = log.getLogger(__name__)

RETRY_AFTER = 5  # seconds


class HTTPFault(exceptions.LabapiError):
    """An error that only HTTP knows: a wrong method, a wrong content type.

    :param code: the status
    :param message: for the person at the other end
    :param headers: what the status asks for (``Allow`` with 405)
    """

    def __init__(self, code: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.headers = dict(headers or {})


# As OpenStack's APIs name them; labapi-middleware has the same table for its filters.
NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
_CODES: dict[type[exceptions.LabapiError], int] = {
    UnsupportedMediaType: 415,
    TooLarge: 413,
    exceptions.InvalidInput: 400,
    exceptions.NotFound: 404,
    exceptions.Forbidden: 403,
    exceptions.Conflict: 409,
    exceptions.Unavailable: 503,
}


def response(error: exceptions.LabapiError, environ: Mapping[str, Any]) -> webob.Response | None:
    """Return the answer for an error, None if the class of error has no status of its own."""
    code, headers = 0, {}
    if isinstance(error, HTTPFault):
        code, headers = error.code, error.headers
    else:
        code = next((_CODES[cls] for cls in type(error).__mro__ if cls in _CODES), 0)
    if not code:
        return None
    if code == 503:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        LOG.warning("answered 503: %s%s", error, cause)
        headers["Retry-After"] = str(RETRY_AFTER)
    fault: dict[str, Any] = {"code": code, "message": str(error)}
    if isinstance(error, exceptions.InvalidInput) and error.errors:
        fault["errors"] = list(error.errors)
    request_id = environ.get(REQUEST_ID)
    if request_id:
        fault["request_id"] = request_id
    answer = json_response({NAMES[code]: fault}, code)
    answer.headers.update(headers)
    return answer
