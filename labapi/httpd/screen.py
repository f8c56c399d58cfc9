"""A second look at requests that another server has read.

Servers differ in what they let through that is not RFC 9112. Some of it still shows in the WSGI
environ, and is refused here; ``docs/deploy.md`` says what does not show.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from labapi.httpd.head import HOST, LENGTH

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_NAME = re.compile(r"HTTP_[A-Z0-9_!#$%&'*+.^`|~-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_VISIBLE = re.compile(r"[!-~]+")
_OTHERS = ("CONTENT_TYPE", "QUERY_STRING", "REQUEST_METHOD")


def screened(app: WSGIApplication) -> WSGIApplication:
    """Return an application that answers 400 to what its server should not have let through."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        problem = _problem(environ)
        if problem is None:
            return app(environ, start_response)
        text = f"{problem}\n".encode()
        # Servers that know no better would take what follows for the next request.
        ending = [("Connection", "close"), ("Content-Length", str(len(text)))]
        start_response("400 Bad Request", [("Content-Type", "text/plain"), *ending])
        return [text]

    return application


def _problem(environ: WSGIEnvironment) -> str | None:
    for name, value in environ.items():
        header = name.startswith("HTTP_")
        if header and not _NAME.fullmatch(name):
            return "the name of a header has a character that no name has"
        if (header or name in _OTHERS) and value and _CONTROL.search(value):
            return "a header has a control character"
    target = environ.get("REQUEST_URI") or environ.get("RAW_URI") or "/"
    if not _VISIBLE.fullmatch(target):
        return "the target is not visible ASCII alone"
    host = environ.get("HTTP_HOST")
    if (host is None and environ["SERVER_PROTOCOL"] != "HTTP/1.0") or not HOST.fullmatch(
        host or ""
    ):
        return "a request has one Host header, which is a host with a port"
    length = environ.get("CONTENT_LENGTH")
    if length and not LENGTH.fullmatch(length):
        return "a request has one Content-Length at most, and it is a number"
    if length and "HTTP_TRANSFER_ENCODING" in environ:
        return "Transfer-Encoding cannot stand beside Content-Length"
    return None
