"""AMQP messages as no library would write them: py-amqp's frames with properties of our own."""

from __future__ import annotations

import bz2
import pickle
import struct
import zlib
from typing import Any

import amqp

CONTENT_TYPE, CONTENT_ENCODING, HEADERS = 0x8000, 0x4000, 0x2000  # flags of properties


class RawMessage(amqp.Message):  # type: ignore[misc]
    """A message whose properties are these bytes.

    :param properties: flags and values as they travel
    """

    def __init__(self, body: bytes, properties: bytes) -> None:
        super().__init__(body)
        self.raw_properties = properties

    def _serialize_properties(self) -> bytes:
        return self.raw_properties


def short(text: bytes) -> bytes:
    """Return a short string as it travels."""
    return struct.pack(">B", len(text)) + text


def headers(name: bytes, value: bytes) -> bytes:
    """Return properties with one header.

    :param value: the letter of its type, and what follows
    """
    table = short(name) + value
    return struct.pack(">HI", HEADERS, len(table)) + table


def long_text(text: bytes) -> bytes:
    """Return a header's value that is a long string."""
    return b"S" + struct.pack(">I", len(text)) + text


def nested(depth: int) -> bytes:
    """Return a header's value: an array in an array, so many of them."""
    inside = b""
    for _ in range(depth):
        inside = b"A" + struct.pack(">I", len(inside)) + inside
    return inside


def compressed(name: bytes) -> bytes:
    """Return properties that say how the body is compressed."""
    return headers(b"compression", long_text(name))


def encoding(name: bytes) -> bytes:
    """Return properties that say how the body's text is encoded."""
    return struct.pack(">H", CONTENT_ENCODING) + short(name)


NONE = struct.pack(">H", 0)
BOMB = bz2.compress(bytes(400 * 1024 * 1024))

HOSTILE: dict[str, Any] = {
    "no such compression": (b"{}", compressed(b"no-such")),
    "a bzip2 bomb": (BOMB, compressed(b"bzip2")),
    "zlib": (zlib.compress(b"{}"), compressed(b"zlib")),
    "a timestamp of a far year": (b"{}", headers(b"t", b"T" + struct.pack(">Q", 10**19))),
    "nested arrays": (b"{}", headers(b"a", nested(3000))),
    "nested arrays that still fit": (b"{}", headers(b"a", nested(1500))),
    "a decimal of 255 places": (b"{}", headers(b"x", b"D\xff" + struct.pack(">I", 2**32 - 1))),
    "100 kB of headers": (b"{}", headers(b"x", long_text(bytes(100_000)))),
    "a header's name that is not UTF-8": (b"{}", headers(b"\xff", long_text(b"x"))),
    "a header that is not UTF-8": (b"{}", headers(b"x", long_text(b"\xff"))),
    "a content type that is not UTF-8": (b"{}", struct.pack(">H", CONTENT_TYPE) + short(b"\xff")),
    "a pickle": (
        pickle.dumps({}),
        struct.pack(">H", CONTENT_TYPE) + short(b"application/x-python-serialize"),
    ),
    "a lone surrogate by UTF-7": (b"+2AA-", encoding(b"utf-7")),
    "an encoding that is none": (b"{}", encoding(b"no-such")),
    "an encoding that is no text": (b"{}", encoding(b"bz2")),
    "no body": (b"", NONE),
    "a body that is too large": (b'"' + bytes(9 * 1024 * 1024) + b'"', NONE),
    "not JSON": (b"\xff\xfe", NONE),
    "another JSON": (b'{"kind":"x"}', NONE),
}
