"""Text from a request, made safe for a log line.

What a client sends may hold line breaks and terminal escapes; in a log they would forge lines.
Everything but plain printable ASCII leaves here as ``%XX``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from labapi_middleware.environ import REQUEST_ID

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# What RFC 3986 lets stand in a path, without the quotation mark and blanks that part log fields.
_SAFE = "/:@!$&()*+,;=~"
MAX_LENGTH = 2048
# What leaves as it came, as nearly everything does.
_is_plain = re.compile(rf"[A-Za-z0-9_.\-{_SAFE}]{{0,{MAX_LENGTH}}}", re.ASCII).fullmatch


def printable(value: str) -> str:
    """Return a value that a client may have written as one word of at most ``MAX_LENGTH``.

    :param value: native string of WSGI (bytes decoded as latin-1) or any other text
    """
    if _is_plain(value):
        return value
    raw = value[:MAX_LENGTH].encode("latin-1", "backslashreplace")
    return quote_from_bytes(raw, _SAFE)


def path(environ: WSGIEnvironment) -> str:
    """Return the path of the request as one word, without its query string.

    Router and URL map move parts between ``SCRIPT_NAME`` and ``PATH_INFO``: the two together are
    what the client asked for, whoever looks, and when.
    """
    return printable(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))


def request_line(environ: WSGIEnvironment) -> str:
    """Return ``<request id> <client> <method> <path>``, ``-`` for what is not known."""
    request_id = environ.get(REQUEST_ID, "-")
    client = printable(environ.get("REMOTE_ADDR") or "-")
    return f"{request_id} {client} {printable(environ['REQUEST_METHOD'])} {path(environ)}"


def query(environ: WSGIEnvironment) -> str:
    """Return the query string as one word; what is quoted in it already stays as it is."""
    raw = environ.get("QUERY_STRING", "")[:MAX_LENGTH].encode("latin-1", "backslashreplace")
    return quote_from_bytes(raw, _SAFE + "?%")
