"""A row of the table of requests."""

from __future__ import annotations

from dataclasses import dataclass, field

AS_SWIFT = 0  # the answer of Swift without the filter, whatever it is


@dataclass(frozen=True)
class Row:
    """A request, and what becomes of it.

    :ivar allowed: the status for the client on the list
    :ivar denied: the status for the other one; AS_SWIFT: what Swift without the filter says
    :ivar shows: what is in the body for the client on the list
    :ivar says: what is in the body for the other one; empty: the ``deny_message``, of a 403
    :ivar untouched: a path that the client that is not on the list must leave as it was
    """

    what: str
    method: str
    path: str
    allowed: int
    denied: int = 403
    who: str = "owner"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    shows: bytes = b""
    says: bytes = b""
    untouched: str = ""
