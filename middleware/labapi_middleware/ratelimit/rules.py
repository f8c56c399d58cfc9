"""Rules of the rate limit, read from sentences such as
``POST /v2.1/testcases: 10 per minute per address``.
"""  # noqa: D205 - the sentence is the summary

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from limits import RateLimitItem, parse

from labapi_middleware import identity
from labapi_middleware.addresses import parse_address

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

EXPECTED = (
    "expected '<methods> <path>: <amount> per <time> per address|project|user', "
    "such as 'POST /v2.1/testcases: 10 per minute per address' or '*  *: 1000 per 1 hour per user'"
)

_AMOUNT = r"(?P<amount>[0-9]{1,7})\s+per\s+(?P<time>(?:[0-9]{1,4}\s+)?(?:second|minute|hour|day)s?)"
_SENTENCE = re.compile(
    r"(?P<methods>\*|[A-Za-z]+(?:\s*,\s*[A-Za-z]+)*)\s+(?P<path>\*|/\S*?)\s*:\s*"
    rf"{_AMOUNT}\s+per\s+(?P<who>address|project|user)",
    re.ASCII,
)
_LIMIT = re.compile(_AMOUNT, re.ASCII)
# Those of RFC 9110 and 5789, and Swift's.
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "COPY"}
_SLASHES = re.compile("/{2,}")
_ENCODED = re.compile("%[0-9A-Fa-f]{2}")
# A day's worth of the finest rule; each is an entry in the storage with a moving window.
_MOST = 1_000_000

# One IPv6 client has a whole network of this length, so a count per address would be no limit.
IPV6_CLIENT = 64


@dataclass(frozen=True, slots=True)
class Rule:
    """How many requests are allowed, and for whom they are counted.

    :ivar methods: in upper case; empty for all
    :ivar path: the pattern as written
    :ivar amount: requests in each window
    :ivar window: as written, such as ``minute`` or ``5 minutes``
    :ivar who: ``address``, ``project`` or ``user``
    """

    methods: frozenset[str]
    path: str
    amount: int
    window: str
    who: str

    def item(self) -> RateLimitItem:
        """Return the rule as the limits library knows it."""
        return parse(f"{self.amount} per {self.window}")

    def __str__(self) -> str:
        return f"{self.amount} per {self.window} per {self.who}"


def rule(value: str) -> Rule:
    """Read one sentence.

    :raises ValueError: it does not follow the form
    """
    match = _SENTENCE.fullmatch(value.strip())
    if match is None:
        raise ValueError(EXPECTED)
    amount = _amount(match)
    names = () if match["methods"] == "*" else match["methods"].upper().split(",")
    methods = {name.strip() for name in names}
    if "GET" in methods:
        methods.add("HEAD")  # the same work without the body
    path = match["path"]
    return Rule(frozenset(methods), path, amount, match["time"], match["who"])


def limit(value: str) -> RateLimitItem | None:
    """Read ``10 per minute``; nothing is no limit.

    :raises ValueError: it is neither
    """
    if not value.strip():
        return None
    match = _LIMIT.fullmatch(value.strip())
    if match is None:
        raise ValueError("expected '<amount> per <time>', such as '10 per minute', or nothing")
    return parse(f"{_amount(match)} per {match['time']}")


def _amount(match: re.Match[str]) -> int:
    amount = int(match["amount"])
    if not 1 <= amount <= _MOST or re.match(r"0+\s", match["time"]):
        raise ValueError(f"the amount is from 1 to {_MOST}, and the time at least 1")
    return amount


def odd_methods(rule: Rule) -> Iterator[str]:
    """Return what to say of the methods of a rule that no client knows."""
    for method in sorted(rule.methods - _METHODS):
        near = difflib.get_close_matches(method, _METHODS, 1)
        guess = f"; did you mean {near[0]}?" if near else ""
        yield f"{method} is not a method of HTTP{guess}"


def odd_path(rule: Rule) -> Iterator[str]:
    """Return what to say of a path that clients can write and requests do not have."""
    if "?" in rule.path:
        yield "paths are compared without the query string; end this one before '?'"
    if _ENCODED.search(rule.path):
        yield "paths are compared decoded; write the character itself and not %XX"


class PathPattern:
    """A path with ``*`` for any characters, ``/`` among them; UTF-8, as WSGI has paths.

    Slashes that are doubled or stand at the end do not count: applications tend to take such a path
    for the same one, and it would be a way around the rule.
    """

    def __init__(self, pattern: str) -> None:
        as_in_environ = normalised(pattern).encode().decode("latin-1")
        self._match = re.compile(fnmatch.translate(as_in_environ)).match

    def matches(self, path: str) -> bool:
        """Say whether a path, normalised, is covered."""
        return self._match(path) is not None


@dataclass(frozen=True, slots=True)
class NamedRule:
    """A rule with its name, made ready to match and to count.

    :ivar item: the rule as the limits library knows it; its namespace begins the keys
    :ivar policy: the rule in the field ``RateLimit-Policy``
    """

    name: str
    rule: Rule
    pattern: PathPattern
    item: RateLimitItem
    policy: str

    def matches(self, method: str, path: str) -> bool:
        """Say whether the rule counts a request with this path, normalised."""
        methods = self.rule.methods
        return (not methods or method in methods) and self.pattern.matches(path)


def named(name: str, rule: Rule, prefix: str) -> NamedRule:
    """Return a rule that counts under its name.

    :param prefix: begins the keys in the storage
    """
    item = rule.item()
    item.namespace = f"{prefix}/{name}"
    policy = f'"{name}";q={item.amount};w={item.get_expiry()}'
    return NamedRule(name, rule, PathPattern(rule.path), item, policy)


def normalised(path: str) -> str:
    """Return a path without doubled slashes and without one at the end."""
    if "//" in path:
        path = _SLASHES.sub("/", path)
    return path.rstrip("/") or "/" if path.endswith("/") else path


def subject(environ: WSGIEnvironment, who: str) -> str:
    """Return a short word for the client, the user or the project that a request counts for.

    Only a confirmed identity counts as a user or a project. Without one it is the address.
    """
    found = None
    if who == "user":
        found = identity.user_id(environ)
    elif who == "project":
        found = identity.project_id(environ)
    return _hashed(who, found) if found else _client(environ.get("REMOTE_ADDR") or "")


@lru_cache(maxsize=4096)
def _client(address: str) -> str:
    try:
        parsed = parse_address(address)
    except ValueError:
        return _hashed("address", "")
    if isinstance(parsed, ipaddress.IPv6Address):
        network = ipaddress.ip_network((parsed, IPV6_CLIENT), strict=False)
        return _hashed("address", str(network))
    return _hashed("address", str(parsed))


def _hashed(kind: str, value: str) -> str:
    # Names may hold blanks and slashes, and any length; memcached's keys may not.
    return hashlib.sha256(f"{kind}:{value}".encode()).hexdigest()[:32]
