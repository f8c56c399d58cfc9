"""A request and its answer, for whoever looks on: without the secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SECRET = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie", "x-auth-token"})
MASK = "***"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request as it was sent, and what came of it.

    :ivar url: the whole URL
    :ivar headers: of the request; secrets are masked
    :ivar body: of the request
    :ivar status: of the answer, None if none came
    :ivar answer_headers: of the answer; secrets are masked
    :ivar answer: the body, None if it is a stream or if no answer came
    :ivar elapsed: seconds until the answer was there; of a stream, until it began
    :ivar error: why no answer came
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    status: int | None
    answer_headers: Mapping[str, str]
    answer: bytes | None
    elapsed: float
    error: str | None = None


def masked(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers with a mask in place of each secret."""
    return {name: MASK if name.lower() in SECRET else value for name, value in headers.items()}
