"""``lab.limits``: how many requests the rate limit leaves."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from labapi_client.managers import Manager


class Limit(msgspec.Struct, kw_only=True):
    """A rule that counts this client.

    :ivar per: who is counted: ``address``, ``user``, …
    :ivar limit: requests in a window of ``window`` seconds
    :ivar remaining: requests that are left; None if nobody knows
    :ivar reset: the time at which the window ends, in seconds since 1970
    """

    name: str
    methods: list[str]
    path: str
    per: str
    limit: int
    window: float
    remaining: int | None = None
    reset: int | None = None


class _Rate(msgspec.Struct):
    rate: list[Limit]


class _Document(msgspec.Struct):
    limits: _Rate


class Limits(Manager):
    """What the rate limit leaves this client."""

    PATH = "/limits"
    NOUN = "limit"

    def list(self) -> Iterator[Limit]:
        """Yield the rules that count this client, and what each leaves it."""
        found: _Document = self._lab.request("GET", self.PATH).decode(_Document)
        yield from found.limits.rate
