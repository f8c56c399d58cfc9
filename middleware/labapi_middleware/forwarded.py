"""What proxies write into a request: which headers, and how to read the two that are believed.

``X-Forwarded-For`` and ``Forwarded`` are read from the right. Each proxy appends what it saw, so
the right end comes from the nearest one. Anybody can have written what stands to the left of the
first element that is not a trusted proxy's. So nothing is read from the left: an open quotation
mark that a client sends must not swallow what a proxy adds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

from labapi_middleware.addresses import Address, parse_address, split_port
from labapi_middleware.environ import FORWARDED_UNBELIEVED

# The headers, as environ keys, in which proxies tell whose request they pass on, and how it came.
FORWARDED = frozenset(
    {
        "HTTP_FORWARDED",
        "HTTP_X_FORWARDED",
        *(f"HTTP_X_FORWARDED_{part}" for part in ("FOR", "HOST", "PORT", "PREFIX", "PROTO")),
        *(f"HTTP_X_FORWARDED_{part}" for part in ("SCHEME", "SERVER", "SSL")),
        "HTTP_X_ORIGINAL_FORWARDED_FOR",
        "HTTP_FORWARDED_FOR",
        "HTTP_X_REAL_IP",
        "HTTP_X_CLIENT_IP",
        "HTTP_X_CLUSTER_CLIENT_IP",
        "HTTP_X_REMOTE_ADDR",
        "HTTP_X_REMOTE_IP",
        "HTTP_CLIENT_IP",
        "HTTP_TRUE_CLIENT_IP",
        "HTTP_CF_CONNECTING_IP",
    }
)
# What shows that somebody else may be behind REMOTE_ADDR: such a header that nobody has read, the
# mark that the proxy filter leaves for those that it did not believe, or any proxy's Via.
_SOMEBODY_BEHIND = FORWARDED | {"HTTP_VIA", FORWARDED_UNBELIEVED}

# A request passes no more proxies than this; elements further to the left are not read.
MOST_HOPS = 32

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a token of HTTP's grammar
_PAIR = re.compile(rf'\s*({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")\s*', re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}|_[A-Za-z0-9._-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Hop:
    """What one proxy says of the request that it got.

    :ivar address: the sender of the request
    :ivar scheme: by which scheme, as written; None if it does not say
    :ivar host: to which host, as written; None if it does not say
    """

    address: Address
    scheme: str | None = None
    host: str | None = None


def is_direct(environ: Mapping[str, Any]) -> bool:
    """Say whether nothing shows that a request came through a proxy that nobody vouches for."""
    return environ.keys().isdisjoint(_SOMEBODY_BEHIND)


def hops_for(value: str) -> Iterator[Hop]:
    """Read ``X-Forwarded-For`` from the right.

    :raises ValueError: at an element that is not an address, with or without a port
    """
    for element in _nearest_first(value.rsplit(",", MOST_HOPS)):
        yield Hop(_address(element))


def hops_forwarded(value: str) -> Iterator[Hop]:
    """Read ``Forwarded`` (RFC 7239) from the right.

    :raises ValueError: at an element that does not follow the grammar, or hides its sender
        (``unknown``, ``_name``)
    """
    for element in _nearest_first(_split_from_right(value)):
        pairs = _pairs(element)
        if "for" not in pairs:
            raise ValueError("an element without for=")
        node = pairs["for"]
        address = _address(node)
        if isinstance(address, IPv6Address) and not node.startswith("["):
            raise ValueError("an IPv6 address without brackets")
        yield Hop(address, pairs.get("proto"), pairs.get("host"))


def last_element(value: str) -> str:
    """Return the right-most element of a comma-separated header."""
    return value.rpartition(",")[2].strip()


def _nearest_first(elements: list[str]) -> Iterator[str]:
    for element in reversed(elements):
        stripped = element.strip(" \t")
        if stripped:  # RFC 9110, 5.6.1.2: empty elements do not count
            yield stripped


def _address(text: str) -> Address:
    if text.startswith("[") and "]" not in text:
        raise ValueError("an open bracket")
    host, port = split_port(text)
    if port and not _PORT.fullmatch(port):
        raise ValueError("not a port")
    if not host.isascii() or "%" in host:
        raise ValueError("not an address")
    return parse_address(host)


def _split_from_right(value: str) -> list[str]:
    """Split at the commas outside of quoted strings, seen from the right."""
    elements: list[str] = []
    quoted = False
    end = len(value)
    for at in range(len(value) - 1, -1, -1):
        if value[at] == '"' and not _escaped(value, at):
            quoted = not quoted
        elif value[at] == "," and not quoted:
            elements.append(value[at + 1 : end])
            end = at
            if len(elements) == MOST_HOPS:
                break
    elements.append(value[:end])
    return elements[::-1]


def _escaped(value: str, at: int) -> bool:
    before = at
    while before > 0 and value[before - 1] == "\\":
        before -= 1
    return (at - before) % 2 == 1


def _pairs(element: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    at = 0
    while True:
        match = _PAIR.match(element, at)
        if match is None:
            raise ValueError("not name=value")
        name, value = match[1].lower(), match[2]
        if name in pairs:
            raise ValueError("a parameter twice")
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
        pairs[name] = value
        at = match.end()
        if at == len(element):
            return pairs
        if element[at] != ";":
            raise ValueError("not a semicolon")
        at += 1
