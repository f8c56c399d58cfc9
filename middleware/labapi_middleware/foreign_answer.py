"""Error answers of others: what a fault that takes the place of one keeps of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from labapi_middleware import faults

# A message is a sentence; a longer text is a page or a traceback. Bytes.
_LONGEST_MESSAGE = 500
# How much of an answer that will be replaced is looked at. Bytes.
LOOK = 16384
# These describe the body that is replaced.
_OF_THE_BODY = frozenset(
    {
        *("accept-ranges", "etag", "last-modified", "transfer-encoding"),
        *("content-disposition", "content-encoding", "content-language", "content-length"),
        *("content-md5", "content-range", "content-type"),
    }
)


def lasting(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers that hold for another body as well."""
    return [item for item in headers if item[0].lower() not in _OF_THE_BODY]


def content_type(headers: Iterable[tuple[str, str]]) -> str:
    """Return the media type that the headers name, in lower case; empty if they name none."""
    for key, value in headers:
        if key.lower() == "content-type":
            return value.partition(";")[0].strip().lower()
    return ""


def beginning(chunks: Iterator[bytes], enough: int = LOOK) -> Iterator[bytes]:
    """Yield pieces of a body until there are ``enough`` bytes."""
    total = 0
    for chunk in chunks:
        yield chunk
        total += len(chunk)
        if total >= enough:
            return


def message(code: int, kind: str, body: bytes) -> str:
    """Return what to tell the client instead of a foreign answer.

    A server error's text may be that of an exception, and markup is for browsers.
    """
    if code < 500 and kind == "text/plain" and 0 < len(body) <= _LONGEST_MESSAGE:
        text = " ".join(body.decode("utf-8", "replace").split())
        if text:
            return text
    return faults.message(code)


def json_message(body: bytes) -> str | None:
    """Return the message of JSON in OpenStack's form, None if it has another.

    That is an object of one member, which is an object with ``code`` and ``message``.
    """
    try:
        (error,) = json.loads(body).values()
        return str(error["message"]) if "code" in error else None
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
