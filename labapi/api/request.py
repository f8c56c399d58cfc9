"""Requests and responses of the API: reading JSON with care, writing it fast."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import webob

from labapi.context import RequestContext
from labapi.exceptions import Forbidden, InvalidInput, LabapiError
from labapi.nesting import deeper_than
from labapi.plans import yaml_document

_encoder = msgspec.json.Encoder()
_encode = _encoder.encode

# The environ keeps a body that was read here; several of these objects may look at one request.
_BODY = "labapi.body"

# As RFC 9512 has it, and as it was written before.
YAML = ("application/yaml", "text/yaml", "application/x-yaml")

# A query string of more parameters than this is not of this API.
MAX_QUERY_FIELDS = 50

# Bytes that a large answer is sent in at a time: each piece is a call into the kernel, and a chunk.
PIECE = 32768


class UnsupportedMediaType(LabapiError):
    """A body of another type than JSON."""


class TooLarge(LabapiError):
    """A body that is larger than allowed."""


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

    def require_project(self, what: str) -> None:
        """Check that the caller has a project: what has none would be everybody's who has none.

        :param what: what is about to be made
        :raises Forbidden: the caller has no project
        """
        if self.context.project_id is None:
            raise Forbidden(f"a {what} is a project's, and you have none")

    def query(self, *allowed: str, several: Collection[str] = ()) -> dict[str, str]:
        """Return the query's parameters.

        :param allowed: the names that the resource knows
        :param several: names that it knows as well, and that may be given several times: these are
            left to :meth:`values`
        :raises InvalidInput: not UTF-8, an unknown name, or a name twice
        """
        found: dict[str, str] = {}
        if not self.environ.get("QUERY_STRING"):
            return found
        for name, value in self._pairs((*allowed, *several)):
            if name in found:
                raise InvalidInput(f"query parameter '{name}' is given twice")
            if name not in several:
                found[name] = value
        return found

    def values(self, name: str) -> list[str]:
        """Return the values of a parameter of the query, after :meth:`query` has allowed it."""
        return [value for other, value in self._pairs() if other == name]

    def _pairs(self, allowed: Collection[str] | None = None) -> list[tuple[str, str]]:
        text = self.environ.get("QUERY_STRING", "")
        if not text:
            return []
        if text.count("&") >= MAX_QUERY_FIELDS:
            raise InvalidInput(f"the query string has more than {MAX_QUERY_FIELDS} parameters")
        try:
            pairs = parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="strict")
        except ValueError:
            raise InvalidInput("the query string is not percent-encoded UTF-8") from None
        for name, _ in pairs:
            if allowed is not None and name not in allowed:
                known = ", ".join(sorted(allowed)) or "none"
                raise InvalidInput(f"query parameter {name[:64]!r} is unknown; known: {known}")
        return pairs

    def json_object(self, max_depth: int) -> dict[str, Any]:
        """Return the body, a JSON object.

        :param max_depth: the deepest nesting of objects and arrays
        :raises InvalidInput: the body is something else; the text says what
        :raises UnsupportedMediaType: its ``Content-Type`` is not that of JSON
        """
        self._check_type("application/json")
        return self._json_object(self._read(), max_depth)

    def document(self, max_depth: int, max_size: int) -> dict[str, Any]:
        """Return the body, an object in JSON or in YAML.

        :param max_depth: as with :meth:`json_object`
        :param max_size: the largest body, in bytes
        :raises InvalidInput: the body is something else; the text says what
        :raises UnsupportedMediaType: its ``Content-Type`` is of neither
        :raises TooLarge: it is larger; no more of it is read than it takes to know
        """
        self._check_type("application/json", *YAML)
        body = self._read(max_size)
        if self.content_type.lower() not in YAML:
            return self._json_object(body, max_depth)
        document = yaml_document.read(_utf_8(body), max_depth, max_size)
        if not isinstance(document, dict):
            raise InvalidInput("the body is not an object in YAML")
        return document

    def _check_type(self, *expected: str) -> None:
        if self.content_type.lower() not in expected:
            raise UnsupportedMediaType(
                f"the body's Content-Type is {self.content_type[:64]!r}; expected"
                f" {' or '.join(expected[:2])} (curl: -H 'Content-Type: {expected[0]}')"
            )

    def _json_object(self, body: bytes, max_depth: int) -> dict[str, Any]:
        if not body:
            raise InvalidInput("the request has no body; expected a JSON object")
        text = _utf_8(body)
        try:
            document = json.loads(
                text,
                object_pairs_hook=_unique,
                parse_constant=_refuse_constant,
                parse_float=_finite,
            )
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

    def body_digest(self, about: str = "") -> str:
        """Return the SHA-256 of the body that was read, in hexadecimal.

        :param about: what the URL names, where the body alone does not say what is asked for
        """
        return hashlib.sha256(about.encode() + self.environ[_BODY]).hexdigest()

    def _read(self, most: int | None = None) -> bytes:
        """Return the body as it came; the ``sizelimit`` filter bounds it.

        :param most: bytes that it may have, whatever that filter allows
        :raises TooLarge: it has more
        """
        length = self.content_length
        chunked = "chunked" in self.environ.get("HTTP_TRANSFER_ENCODING", "")
        if length is None and not chunked and not self.environ.get("wsgi.input_terminated"):
            return b""
        if most is not None and (length or 0) > most:
            raise TooLarge(f"the body has {length} bytes; at most {most} are allowed")
        body: bytes = self.environ["wsgi.input"].read(-1 if length is None else length)
        if most is not None and len(body) > most:
            raise TooLarge(f"the body has more than {most} bytes")
        self.environ[_BODY] = body
        return body


def json_response(document: Any, status: int = 200) -> webob.Response:
    """Return a response whose body is JSON."""
    return webob.Response(
        body=_encode(document) + b"\n", status=status, content_type="application/json", charset=None
    )


def json_object_stream(items: Iterator[tuple[str, Any]]) -> Iterator[bytes]:
    """Write one large JSON object piece by piece.

    :param items: names and values
    """
    piece = bytearray(b"{")
    for name, value in items:
        _encoder.encode_into(name, piece, -1)
        piece += b":"
        _encoder.encode_into(value, piece, -1)
        piece += b","
        if len(piece) >= PIECE:
            # The last comma waits for what follows it.
            yield bytes(piece[:-1])
            del piece[:-1]
    if piece.endswith(b","):
        del piece[-1:]
    yield bytes(piece) + b"}\n"


def _utf_8(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not UTF-8 (at byte {error.start})") from None


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
