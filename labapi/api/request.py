"""Requests and responses of the API: reading JSON with care, writing it fast."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import webob

from labapi.context import RequestContext
from labapi.exceptions import InvalidInput, LabapiError
from labapi.nesting import deeper_than

_encode = msgspec.json.Encoder().encode

# The environ keeps a body that was read here; several of these objects may look at one request.
_BODY = "labapi.body"

# A query string of more parameters than this is not of this API.
MAX_QUERY_FIELDS = 50

# Bytes that a large answer is sent in at a time: each piece is a call into the kernel, and a chunk.
PIECE = 16384


class UnsupportedMediaType(LabapiError):
    """A body of another type than JSON."""


class Request(webob.Request):  # type: ignore[misc]  # WebOb has no type information
    """A request whose parts are read strictly: what cannot be understood is an ``InvalidInput``."""

    @property
    def context(self) -> RequestContext:
        """The caller.

        :raises RuntimeError: no filter of the pipeline established one
        """
        context = RequestContext.from_environ(self.environ)
        if context is None:
            raise RuntimeError("the pipeline has no context filter to the left of this application")
        return context

    def query(self, *allowed: str) -> dict[str, str]:
        """Return the query's parameters.

        :param allowed: the names that the resource knows
        :raises InvalidInput: not UTF-8, an unknown name, or a name twice
        """
        text = self.environ.get("QUERY_STRING", "")
        if not text:
            return {}
        try:
            pairs = parse_qsl(
                text,
                keep_blank_values=True,
                encoding="utf-8",
                errors="strict",
                max_num_fields=MAX_QUERY_FIELDS,
            )
        except ValueError:
            raise InvalidInput("the query string is not percent-encoded UTF-8") from None
        found: dict[str, str] = {}
        for name, value in pairs:
            if name not in allowed:
                known = ", ".join(sorted(allowed)) or "none"
                raise InvalidInput(f"query parameter {name[:64]!r} is unknown; known: {known}")
            if name in found:
                raise InvalidInput(f"query parameter '{name}' is given twice")
            found[name] = value
        return found

    def json_object(self, max_depth: int) -> dict[str, Any]:
        """Return the body, a JSON object.

        :param max_depth: the deepest nesting of objects and arrays
        :raises InvalidInput: the body is something else; the text says what
        :raises UnsupportedMediaType: its ``Content-Type`` is not that of JSON
        """
        if self.content_type.lower() != "application/json":
            raise UnsupportedMediaType(
                f"the body's Content-Type is {self.content_type[:64]!r}; expected application/json"
                " (curl: -H 'Content-Type: application/json')"
            )
        body = self._read()
        if not body:
            raise InvalidInput("the request has no body; expected a JSON object")
        try:
            document = json.loads(
                body.decode("utf-8"),
                object_pairs_hook=_unique,
                parse_constant=_refuse_constant,
                parse_float=_finite,
            )
        except UnicodeDecodeError as error:
            raise InvalidInput(f"the body is not UTF-8 (at byte {error.start})") from None
        except RecursionError:
            raise InvalidInput(f"the body is nested deeper than {max_depth} levels") from None
        except InvalidInput:
            raise
        except ValueError as error:
            raise InvalidInput(f"the body is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise InvalidInput("the body is not a JSON object")
        if deeper_than(document, max_depth):
            raise InvalidInput(f"the body is nested deeper than {max_depth} levels")
        if b"\\u" in body and not _is_text(document):
            raise InvalidInput("the body has half of a surrogate pair, which is not a character")
        return document

    def body_digest(self) -> str:
        """Return the SHA-256 of the body that :meth:`json_object` has read, in hexadecimal."""
        return hashlib.sha256(self.environ[_BODY]).hexdigest()

    def _read(self) -> bytes:
        """Return the body as it came; the ``sizelimit`` filter bounds it."""
        length = self.content_length
        chunked = "chunked" in self.environ.get("HTTP_TRANSFER_ENCODING", "")
        if length is None and not chunked and not self.environ.get("wsgi.input_terminated"):
            return b""
        body: bytes = self.environ["wsgi.input"].read(-1 if length is None else length)
        self.environ[_BODY] = body
        return body


def json_response(document: Any, status: int = 200) -> webob.Response:
    """Return a response whose body is JSON."""
    return webob.Response(
        body=_encode(document), status=status, content_type="application/json", charset=None
    )


def json_object_stream(items: Iterator[tuple[str, Any]]) -> Iterator[bytes]:
    """Write one large JSON object piece by piece.

    :param items: names and values
    """
    piece = bytearray(b"{")
    for name, value in items:
        piece += _encode(name) + b":" + _encode(value) + b","
        if len(piece) >= PIECE:
            # The last comma waits for what follows it.
            yield bytes(piece[:-1])
            del piece[:-1]
    if piece.endswith(b","):
        del piece[-1:]
    yield bytes(piece) + b"}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counted = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counted.items() if count > 1)
        raise InvalidInput(f"the body has the field {twice[:64]!r} twice")
    return found


def _refuse_constant(name: str) -> None:
    raise InvalidInput(f"the body is not JSON: {name} is not a JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise InvalidInput(f"the body has a number that is too large: {text[:64]}")
    return value


def _is_text(document: Any) -> bool:
    try:
        _encode(document)
    except UnicodeEncodeError:
        return False
    return True
