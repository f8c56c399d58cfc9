"""Error answers as OpenStack services write them, for every filter here.

A fault is ``{"<faultName>": {"code": 404, "message": "…", "request_id": "req-…"}}``; the
request id is there when the ``request_id`` filter gave one. A client that asks for HTML and would
rather have it than JSON (a browser) gets a small page with the same facts.
"""

from __future__ import annotations

import html
import http
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from labapi_middleware.environ import REQUEST_ID

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# The names that nova's API gave them, which clients of OpenStack know; the rest is a computeFault.
FAULT_NAMES = {
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
OTHER = "computeFault"

UNEXPECTED = "An unexpected error prevented the server from fulfilling the request."

_MESSAGES = {
    401: "This request needs authentication.",
    403: "This request is not allowed.",
    500: UNEXPECTED,
}


def name(code: int) -> str:
    """Return the fault name of a status code."""
    return FAULT_NAMES.get(code, OTHER)


def message(code: int) -> str:
    """Return a message for a status code of which nothing more is known."""
    if code in _MESSAGES:
        return _MESSAGES[code]
    try:
        status = http.HTTPStatus(code)
    except ValueError:
        return "The request failed."
    return f"{status.description or status.phrase}."


def status_line(code: int) -> str:
    """Return ``"404 Not Found"`` of 404."""
    try:
        return f"{code} {http.HTTPStatus(code).phrase}"
    except ValueError:
        return f"{code} Unknown"


def document(environ: WSGIEnvironment, code: int, text: str) -> dict[str, dict[str, Any]]:
    """Return the fault as the JSON object that the client gets."""
    fault: dict[str, Any] = {"code": code, "message": text}
    request_id = environ.get(REQUEST_ID)
    if request_id:
        fault["request_id"] = request_id
    return {name(code): fault}


def render(environ: WSGIEnvironment, code: int, text: str) -> tuple[str, bytes]:
    """Write a fault in the form that the client prefers.

    :returns: content type and body
    """
    fault = document(environ, code, text)
    if not prefers_html(environ.get("HTTP_ACCEPT", "")):
        return "application/json", f"{json.dumps(fault)}\n".encode("ascii")
    rows = "".join(
        f"<p>{html.escape(key)}: {html.escape(str(value))}</p>"
        for key, value in fault[name(code)].items()
    )
    title = html.escape(status_line(code))
    page = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body><h1>{title}</h1>{rows}</body></html>\n"
    )
    return "text/html; charset=UTF-8", page.encode()


def respond(
    environ: WSGIEnvironment,
    start_response: StartResponse,
    code: int,
    text: str,
    headers: Iterable[tuple[str, str]] = (),
    *,
    status: str | None = None,
    exc_info: Any = None,
) -> list[bytes]:
    """Answer a request with a fault.

    :param code: the status code
    :param text: what the client is told: what is wrong and what to do about it
    :param headers: further headers, such as ``Retry-After``
    :param status: the status line, where it is not the standard one of ``code``
    :param exc_info: of the exception being handled, as PEP 3333 wants it for an answer that
        replaces another; the server raises it again if that one is on its way already
    """
    content_type, body = render(environ, code, text)
    start_response(
        status or status_line(code),
        [*headers, ("Content-Type", content_type), ("Content-Length", str(len(body)))],
        exc_info,
    )
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]


def prefers_html(accept: str) -> bool:
    """Say whether an ``Accept`` header names HTML and puts it before JSON (RFC 9110, 12.5.1)."""
    if "text/html" not in accept.lower():  # curl and programs: no need to read the rest
        return False
    weights: dict[str, float] = {}
    for item in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        weights[media_type] = _weight(parameters)
    for media_range in ("application/json", "application/*", "*/*"):
        if media_range in weights:
            return weights.get("text/html", 0.0) > weights[media_range]
    return weights.get("text/html", 0.0) > 0.0


def _weight(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def is_outage(error: BaseException) -> bool:
    """Say whether an exception means that a server behind a filter is away.

    auth_token answers 503 itself when Keystone refuses a connection, but raises when it accepts one
    and then does not answer.
    """
    keystone = sys.modules.get("keystoneauth1.exceptions")
    return keystone is not None and isinstance(error, keystone.ConnectionError)
