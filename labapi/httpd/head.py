"""The head of an HTTP request, read as RFC 9112 has it and in no other way.

Where two programs in a row read a request differently, a client can hide from the first what the
second obeys: a header, or a whole request. So what is not exactly of the grammar is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MAXFIELDS = 100
MAX_CHUNK_LINE = 256  # bytes of the line before a chunk

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%b) ([!-~]+) (HTTP/1\.[01])\r\n" % _TOKEN)
FIELD = re.compile(rb"(%b):[ \t]*((?:[!-~\x80-\xff][ \t]*)*)\r\n" % _TOKEN)
# Without the comma that RFC 3986 allows: it is what two Host headers are joined with.
HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+;=:%\[\]-]*")
LENGTH = re.compile(r"[0-9]{1,18}")
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t -~\x80-\xff]*)?\r\n")


class Refused(Exception):
    """A head that is not answered by the application.

    :ivar status: such as ``400 Bad Request``
    """

    def __init__(self, text: str, status: str = "400 Bad Request") -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """What a request says before its body.

    :ivar target: as the client wrote it
    :ivar version: ``HTTP/1.1`` or ``HTTP/1.0``
    :ivar fields: names and values, in their order
    :ivar raw: the bytes of all this
    """

    method: str
    target: str
    version: str
    fields: list[tuple[str, str]]
    raw: bytes

    def values(self, name: str) -> list[str]:
        """Return the values of all fields of a name, which is given in lower case."""
        return [value for field, value in self.fields if field.lower() == name]


def read(first: bytes, readline: Callable[[], bytes]) -> Head:
    """Read a head to its end.

    :param first: its first line
    :param readline: returns the lines after it, and bounds their size
    :raises Refused: it is not of RFC 9112
    """
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        raise Refused("the request line is not 'METHOD TARGET HTTP/1.1' with visible ASCII alone")
    method, target, version = (part.decode("ascii") for part in line.groups())
    fields: list[tuple[str, str]] = []
    raw = [first]
    while (text := readline()) != b"\r\n":
        raw.append(text)
        field = FIELD.fullmatch(text)
        if field is None:
            raise Refused("a header is not a line of the form 'Name: value' that ends with CR LF")
        if len(fields) == MAXFIELDS:
            raise Refused("too many headers", "431 Request Header Fields Too Large")
        name, value = field.groups()
        if b"_" in name:  # in a WSGI environ it would be the header with hyphens in their place
            raw.pop()
            continue
        fields.append((name.decode("ascii"), value.decode("latin-1").rstrip(" \t")))
    head = Head(method, target, version, fields, b"".join((*raw, text)))
    _check_host(head)
    _check_framing(head)
    return head


def _check_host(head: Head) -> None:
    hosts = head.values("host")
    if len(hosts) > 1 or (not hosts and head.version != "HTTP/1.0"):
        raise Refused("a request has one Host header")
    if hosts and not HOST.fullmatch(hosts[0]):
        raise Refused("the Host header is not a host with a port")


def _check_framing(head: Head) -> None:
    """Check that there is one way to tell where the body ends."""
    lengths, codings = head.values("content-length"), head.values("transfer-encoding")
    if len(lengths) > 1 or not all(LENGTH.fullmatch(length) for length in lengths):
        raise Refused("a request has one Content-Length at most, and it is a number")
    if not codings:
        return
    if lengths or head.version == "HTTP/1.0":
        raise Refused("Transfer-Encoding cannot stand beside Content-Length, nor in HTTP/1.0")
    if [coding.lower() for coding in codings] != ["chunked"]:
        raise Refused("the only Transfer-Encoding here is 'chunked'", "501 Not Implemented")
