"""What the tests of the filters share: requests without a server, and servers where they matter."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from labapi_middleware.filter import Filter

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., Any]], Any]


@dataclass
class Answer:
    """What a client got."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes
    raw_headers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def fault(self) -> tuple[str, dict[str, Any]]:
        ((name, value),) = self.json.items()
        return name, value


def environ(method: str = "GET", path: str = "/v2.1/slaves", **more: Any) -> Environ:
    """Return a request; ``headers`` may be a mapping, everything else is a key of the environ."""
    headers: Mapping[str, str] = more.pop("headers", {})
    body: bytes | None = more.pop("body", None)
    request: Environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "REMOTE_ADDR": "127.0.0.1"}
    request.update(SCRIPT_NAME="", QUERY_STRING="")
    setup_testing_defaults(request)
    if body is not None:
        request["CONTENT_LENGTH"] = str(len(body))
        request["wsgi.input"] = io.BytesIO(body)
    for name, value in headers.items():
        request["HTTP_" + name.upper().replace("-", "_")] = value
    request.update(more)
    return request


def call(app: App, request: Environ) -> Answer:
    """Send a request as a server does: start_response, write, iteration, close."""
    started: list[tuple[str, list[tuple[str, str]]]] = []
    sent: list[bytes] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None and any(sent):
            raise exc_info[1].with_traceback(exc_info[2])
        assert exc_info is not None or not started, "start_response was called twice"
        started.append((status, headers))
        return sent.append

    result = app(request, start_response)
    try:
        for chunk in result:
            assert started, "a body without start_response"
            sent.append(chunk)
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()
    status, headers = started[-1]
    assert len({k.lower() for k, _ in headers}) == len(headers), f"a header twice: {headers}"
    return Answer(int(status[:3]), status[4:], dict(headers), b"".join(sent), headers)


def plain(body: bytes = b"ok", status: str = "200 OK", kind: str = "text/plain") -> App:
    """Return an application that gives one answer."""

    def app(request: Environ, start_response: Any) -> Iterable[bytes]:
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [b"" if request["REQUEST_METHOD"] == "HEAD" else body]

    return app


class Recorder:
    """An application that keeps the last request."""

    def __init__(self) -> None:
        self.environ: Environ = {}
        self.calls = 0

    def __call__(self, request: Environ, start_response: Any) -> Iterable[bytes]:
        self.environ = request
        self.calls += 1
        return plain()(request, start_response)


def build(
    cls: type[Filter],
    app: App,
    global_conf: Mapping[str, str] | None = None,
    **local_conf: str,
) -> Any:
    """Build a filter as Paste does; what comes back can be closed, too, if the filter can."""
    from labapi_middleware.filter import factory

    return factory(cls)(global_conf or {}, **local_conf)(app)  # type: ignore[arg-type, return-value]


def validated(app: App) -> App:
    """Wrap in the conformance checks of wsgiref.validate, whose bodies have to be closed."""
    return validator(app)  # type: ignore[arg-type, return-value]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
