"""How many functions a request runs through, against ``budget.toml``: CPU that can be counted."""

from __future__ import annotations

import gc
import io
import logging
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from labapi import config, logs
from tests.lab import Lab

WHAT = "GET /v2.1/slaves/{id}"
BUDGET = tomllib.loads(Path(__file__).with_name("budget.toml").read_text())["functions"][WHAT]
WARM, ROUNDS = 20, 20


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab that writes the access log as operators have it."""
    # Stays set when another test has listened to the engines, and then all statements take longer.
    monkeypatch.setattr(sqlalchemy.Engine, "_has_events", False)
    conf = config.new(logging_context_format_string=config.LOG_FORMAT)
    conf([], project="labapi", default_config_files=[])
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logs.Formatter(conf))
    logger = logging.getLogger("labapi_middleware.access_log")
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    before = logger.level
    logger.setLevel(logging.INFO)
    lab = Lab(tmp_path).start()
    yield lab
    lab.stop()
    logger.setLevel(before)
    assert handler.stream.getvalue().count(" 200 ") == WARM + ROUNDS


def ask(app: Any) -> None:
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/v2.1/slaves/1",
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8774",
        "HTTP_ACCEPT": "*/*",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
    }
    body = app(environ, lambda *_: None)
    assert b'"host":"lab-1"' in b"".join(body)
    body.close()


def functions(app: Any) -> int:
    """Return how many Python functions one request calls."""
    count = 0

    def note(_frame: Any, what: str, _argument: Any) -> None:
        nonlocal count
        count += what == "call"

    gc.disable()  # what it clears away may call functions, at any moment
    sys.setprofile(note)  # of this thread only
    try:
        ask(app)
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def test_a_request_runs_through_so_many_functions(lab: Lab) -> None:
    for _ in range(WARM):
        ask(lab.app)
    # The least of many: the clock's second may change in one of them, which makes its text anew.
    least = min(functions(lab.app) for _ in range(ROUNDS))
    assert least <= BUDGET, "a request has become dearer"
    assert least > 0.75 * BUDGET, "a request has become cheaper; so should the budget"
