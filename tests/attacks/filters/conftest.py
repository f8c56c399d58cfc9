"""The API on a port, as a stranger reaches it, with the shipped pipeline."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab import ROOT, MariaDB, RabbitMQ
from tests.programs import Program, free_port, run

SHIPPED = (ROOT / "etc" / "api-paste.ini").read_text()


class Answer(NamedTuple):
    """What a client got."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Api(NamedTuple):
    """A program that serves the API on a port of this machine."""

    program: Program
    port: int

    def ask(self, path: str, login: str = "", headers: Mapping[str, str] | None = None) -> Answer:
        """Read something on a connection of its own.

        :param login: ``user:password``; empty for none
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = dict(headers or {})
        if login:
            sent["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        try:
            connection.request("GET", path, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


Serve = Callable[[str], Api]


@pytest.fixture
def mariadb() -> Iterator[MariaDB]:
    """Return an empty database."""
    database = MariaDB().create()
    yield database
    database.drop()


@pytest.fixture
def rabbitmq() -> Iterator[RabbitMQ]:
    """Return an empty virtual host."""
    broker = RabbitMQ().create()
    yield broker
    broker.drop()


@pytest.fixture(params=["labapi-all", "labapi-api"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """Return what starts the API, with threads or with green threads, and a pipeline."""
    started: list[Program] = []
    servers = ""
    if request.param == "labapi-api":
        database, broker = (request.getfixturevalue(name) for name in ("mariadb", "rabbitmq"))
        servers = f"[database]\nconnection = {database.url}\n"
        servers += f"[messaging]\ntransport_url = {broker.url}\n"

    def start(paste: str) -> Api:
        (tmp_path / "api-paste.ini").write_text(paste)
        config, port = tmp_path / "labapi.conf", free_port()
        api = f"[api]\nport = {port}\nworkers = 1\n"
        config.write_text(f"[DEFAULT]\nstate_path = {tmp_path}/state\n{api}{servers}")
        if request.param == "labapi-api":
            run("labapi-manage", "--config-file", str(config), "db", "upgrade")
        program = Program(request.param, "--config-file", str(config), log=tmp_path / "log")
        started.append(program)
        program.says("listens on")
        return Api(program, port)

    yield start
    for program in started:
        assert program.stop() == 0, program.output()
        assert "Traceback" not in program.output()
