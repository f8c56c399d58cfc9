"""What each filter costs: CPU microseconds per request against a filter that only hands on.

    python bench/filters.py [--requests N] [--runs N] [filter ...]

In this process, without a server: ``time.process_time`` over many requests, the median of several
runs and their spread. The numbers of one run of this program are comparable with each other.
"""

from __future__ import annotations

import argparse
import base64
import gc
import io
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import bcrypt

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

BODY = b'{"uuid": {"id": 1, "host": "192.0.2.1"}}'
HEADERS = [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))]
LOGIN = "Basic " + base64.b64encode(b"alice:wonderland").decode()

REQUEST = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/v2.1/slaves/5b9e675c-728d-4eb7-9b9f-cc76ebdd4381",
    "QUERY_STRING": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8774",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "40404",
    "HTTP_HOST": "127.0.0.1:8774",
    "HTTP_USER_AGENT": "curl/8.5.0",
    "HTTP_ACCEPT": "*/*",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.input": io.BytesIO(),
    "wsgi.errors": io.StringIO(),
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "labapi.request_id": "req-5b9e675c-728d-4eb7-9b9f-cc76ebdd4381",
}
CONFIRMED = {
    "keystone.token_info": {"token": {}},
    "HTTP_X_IDENTITY_STATUS": "Confirmed",
    "HTTP_X_USER_ID": "u1",
    "HTTP_X_USER_NAME": "alice",
    "HTTP_X_PROJECT_ID": "p1",
    "HTTP_X_PROJECT_NAME": "lab",
    "HTTP_X_ROLES": "member,reader",
}


def cases(folder: Path) -> list[tuple[str, str, dict[str, str], Environ]]:
    """Return label, filter, options and request of each row of the table."""
    htpasswd = folder / "htpasswd"
    htpasswd.write_text(f"alice:{bcrypt.hashpw(b'wonderland', bcrypt.gensalt(10)).decode()}\n")
    forwarded = {"HTTP_X_FORWARDED_FOR": "198.51.100.9, 192.0.2.7", "REMOTE_ADDR": "10.0.0.1"}
    post = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "40"}
    rules = {"rule_all": "* *: 1000000 per day per address"}
    return [
        ("request_id", "request_id", {}, {}),
        ("access_log", "access_log", {}, {}),
        ("faultwrap", "faultwrap", {}, {}),
        ("proxy, no proxy", "proxy", {}, {}),
        ("proxy, one trusted", "proxy", {"trusted_proxies": "10.0.0.0/8"}, forwarded),
        ("sizelimit, GET", "sizelimit", {}, {}),
        ("sizelimit, POST", "sizelimit", {}, post),
        ("ratelimit, no rule matches", "ratelimit", {"rule_a": "PUT /: 1 per day per user"}, {}),
        ("ratelimit, memory, one rule", "ratelimit", rules, {}),
        ("noauth", "noauth", {}, {}),
        (
            "basic, password remembered",
            "basic",
            {"htpasswd_file": str(htpasswd)},
            {"HTTP_AUTHORIZATION": LOGIN},
        ),
        ("context", "context", {}, CONFIRMED),
        ("audit, GET", "audit", {}, {}),
        ("audit, POST, to a file", "audit", {"file": str(folder / "audit")}, post),
        ("metrics", "metrics", {}, {}),
    ]


def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", HEADERS)
    return [BODY]


def pass_through(app: App) -> App:
    """Return the bare filter that the others are compared with."""

    def hand_on(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        return app(environ, start_response)

    return hand_on


def microseconds(app: App, request: Environ, requests: int) -> float:
    """Send requests as a server does and return the CPU time of one."""

    def start_response(status: str, headers: list[Any], exc_info: Any = None) -> None:
        return None

    gc.collect()
    begin = time.process_time()
    for _ in range(requests):
        result = app(dict(request), start_response)
        for _chunk in result:
            pass
        close = getattr(result, "close", None)
        if close is not None:
            close()
    return (time.process_time() - begin) / requests * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("filters", nargs="*", help="only these")
    parser.add_argument("--requests", type=int, default=5000, help="in each run")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    # Lines are formatted, as in production, and go nowhere.
    for name in ("access_log", "audit"):
        log = logging.getLogger(f"labapi_middleware.{name}")
        log.setLevel(logging.INFO)
        log.addHandler(logging.StreamHandler(io.StringIO()))
        log.propagate = False
    # Of this distribution only: others have filters of the same names.
    factories = {
        entry.name: entry
        for entry in distribution("labapi-middleware").entry_points
        if entry.group == "paste.filter_factory"
    }
    print(f"{'filter':32}{'µs':>8}{'min':>8}{'max':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for label, name, options, more in cases(Path(folder)):
            if arguments.filters and name not in arguments.filters:
                continue
            filtered = factories[name].load()({}, **options)(application)
            request = {**REQUEST, **more}
            bare = pass_through(application)
            microseconds(filtered, request, 100)  # warm
            # Side by side, so that a machine that slows down slows both.
            costs = [
                microseconds(filtered, request, arguments.requests)
                - microseconds(bare, request, arguments.requests)
                for _ in range(arguments.runs)
            ]
            print(
                f"{label:32}{statistics.median(costs):8.1f}{min(costs):8.1f}{max(costs):8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
