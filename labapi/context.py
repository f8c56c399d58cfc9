"""What the filters tell the application of a request, and who asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Keys of the WSGI environ in which filters and application meet; the README of labapi-middleware
# describes them. No client can set one: what it sends is under keys that begin with HTTP_.
REQUEST_ID = "labapi.request_id"
CONTEXT = "labapi.context"
RATELIMIT = "labapi.ratelimit"
HOST_GUARD = "labapi.host_guard"
# These are set here, for the filters to read.
ROUTE = "labapi.route"
AUDIT = "labapi.audit"


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The caller of one request.

    :ivar request_id: ``req-`` and a UUID; in every log line and fault of this request
    :ivar roles: lower-case names
    """

    request_id: str
    user_id: str
    project_id: str | None
    roles: tuple[str, ...]

    @classmethod
    def from_environ(cls, environ: Mapping[str, Any]) -> RequestContext | None:
        """Return the context, None if no filter established one."""
        found = environ.get(CONTEXT)
        if found is None:
            return None
        return cls(
            request_id=found["request_id"] or "req-unknown",
            user_id=found["user_id"],
            project_id=found["project_id"],
            roles=found["roles"],
        )
