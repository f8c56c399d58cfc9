"""How many functions a request and a case run through, against ``budget.toml``."""

from __future__ import annotations

import gc
import io
import logging
import os
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy

from labapi import config, logs
from labapi.agent import timers
from labapi.agent.link.reading import Reading
from labapi.agent.manager import Agent
from labapi.api.backend.hints import Hints
from labapi.api.controllers.slaves import BATCH
from labapi.pipeline.urlmap import URLMap
from labapi.rpc.consumer import BatchConsumer
from labapi.rpc.sender import Sender
from tests import hosts
from tests.functional.calls import Calls, Part
from tests.lab import Lab, MariaDB, RabbitMQ, ask

BUDGET = tomllib.loads(Path(__file__).with_name("budget.toml").read_text())["functions"]
WARM, ROUNDS = 20, 20

REQUEST = "GET /v2.1/slaves/{id}"
CASE = {
    "plugin": "linux_system",
    "host": "lab-1",
    "method": "run_shell",
    "parameters": {"command": "true"},
}
IN_THE_API = "a case, in the API"
IN_THE_AGENT = "a case, in the agent"
PARTS = (
    # From the request to its answer, the hint, the event of the end.
    Part(IN_THE_API, URLMap.__call__, ("request",)),
    Part(IN_THE_API, Hints._publish, ("hints",)),
    Part(IN_THE_API, BatchConsumer._work_off, ("waiters",)),
    # From the hint to the event of the end, and the look for what the host can have next.
    Part("a case, in the conductor", BatchConsumer._work_off, ("dispatch", "reports")),
    # The command is taken in and acknowledged, the method runs, the report is sent.
    Part(IN_THE_AGENT, Reading.work_off, ("agent-link",)),
    Part(IN_THE_AGENT, Agent._run, ("agent-slot",)),
    Part(IN_THE_AGENT, Sender.send, ("agent-link",)),
)
# A lab in which nothing happens by itself.
QUIET = {
    "conductor__sweep_interval": 600.0,
    "conductor__plan_interval": 600.0,
    "conductor__service_down_time": 3600.0,
    "scheduler__refresh_interval": 3600.0,
    "agent__heartbeat_interval": 600.0,
    "agent__output_interval": 600.0,
}


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
    assert handler.stream.getvalue().count(" 200 ") >= WARM + ROUNDS


def get(app: Any, path: str, query: str = "") -> None:
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
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


def functions(app: Any, path: str, query: str = "") -> int:
    """Return how many Python functions one request calls."""
    count = 0

    def note(_frame: Any, what: str, _argument: Any) -> None:
        nonlocal count
        count += what == "call"

    def counted() -> int:
        nonlocal count
        count = 0
        gc.disable()  # what it clears away may call functions, at any moment
        sys.setprofile(note)  # of this thread only
        try:
            get(app, path, query)
        finally:
            sys.setprofile(None)
            gc.enable()
        return count

    for _ in range(WARM):
        get(app, path, query)
    # The least of many: the clock's second may change in one of them, which makes its text anew.
    return min(counted() for _ in range(ROUNDS))


def test_a_request_runs_through_so_many_functions(lab: Lab) -> None:
    hold(REQUEST, functions(lab.app, "/v2.1/slaves/1"))


@pytest.mark.parametrize("path", ["/v2.1/slaves", "/v2.1/slaves/detail"])
def test_a_host_of_a_list_runs_through_so_many_functions(lab: Lab, path: str) -> None:
    for number in range(3 * BATCH):
        hosts.announce(lab.database, f"more-{number}")
    fewer, more = (functions(lab.app, path, f"limit={batches * BATCH}") for batches in (2, 3))
    hold(f"a host of GET {path}", (more - fewer) / BATCH)


def test_a_case_runs_through_so_many_functions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlalchemy.Engine, "_has_events", False)
    monkeypatch.setattr(timers, "SOON", 600.0)  # however slow: a case ends before its start is told
    with ExitStack() as stack:
        database = MariaDB().create()
        stack.callback(database.drop)
        broker = RabbitMQ().create()
        stack.callback(broker.drop)
        servers = {"database__connection": database.url, "messaging__transport_url": broker.url}
        calls = stack.enter_context(Calls(*PARTS))
        lab = Lab(tmp_path, **servers, **QUIET).start()
        stack.callback(lab.stop)

        def run() -> None:
            bury()
            answers: list[Any] = []
            request = threading.Thread(
                target=lambda: answers.append(ask(lab.app, "/testcases?wait=30", CASE)),
                name="request",
            )
            request.start()
            request.join()
            assert [answer.json["result"] for answer in answers] == ["PASS"]

        counts = [calls.of(run) for _ in range(WARM + ROUNDS)]
    for name in {part.name for part in PARTS}:
        # The least of many: a message may come in two pieces, and so may what is told of a case.
        hold(name, min(count[name] for count in counts))


def bury() -> None:
    """Bury what ``rabbitmqctl`` left behind: a process that had an agent adopts it.

    An agent looks at each such child of its process with every case.
    """
    for child in psutil.Process().children():
        if child.status() == psutil.STATUS_ZOMBIE:
            os.waitpid(child.pid, 0)


def hold(what: str, least: float) -> None:
    """Compare a number of functions with the budget."""
    budget = BUDGET[what]
    assert least <= budget, f"{what}: it has become dearer"
    assert least > 0.75 * budget, f"{what}: it has become cheaper; so should the budget"
