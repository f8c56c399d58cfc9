"""The least that the application needs of a pipeline: that somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

SOMEBODY = {
    "request_id": "req-5b9e675c-728d-4eb7-9b9f-cc76ebdd4381",
    "user_id": "somebody",
    "project_id": "somebody",
    "roles": ("admin",),
    "remote_address": "127.0.0.1",
}


def filter_factory(
    global_conf: dict[str, str], **local_conf: str
) -> Callable[[Any], Callable[[dict[str, Any], Any], Iterable[bytes]]]:
    """Return a filter that names the same caller for every request."""

    def filtered(app: Any) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
        def named(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            environ["labapi.context"] = SOMEBODY
            answer: Iterable[bytes] = app(environ, start_response)
            return answer

        return named

    return filtered
