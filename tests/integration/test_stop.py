"""How ``labapi-api`` ends: what is under way is answered, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from labapi import config
from labapi.db import hosts, migration, services
from labapi.db.session import Database
from tests.lab import ROOT, RabbitMQ
from tests.processes import lives, until
from tests.programs import BIN, Program, curl, free_port

HOST = "lab-1"


class Running(NamedTuple):
    program: Program
    config: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v2.1"


@pytest.fixture
def api(tmp_path: Path, rabbitmq: RabbitMQ) -> Iterator[Running]:
    port = free_port()
    file = tmp_path / "labapi.conf"
    file.write_text(
        f"[DEFAULT]\nstate_path = {tmp_path}\n"
        f"[api]\nport = {port}\nworkers = 2\npaste_config = {ROOT}/etc/api-paste.ini\n"
        f"[messaging]\ntransport_url = {rabbitmq.url}\n"
    )
    add_host(file)
    program = Program("labapi-api", "--config-file", str(file), log=tmp_path / "log")
    program.says("listens on")
    yield Running(program, file, port)
    program.stop(signal.SIGKILL)


def add_host(file: Path) -> None:
    conf = config.load(["--config-file", str(file)], prog="test", description="")
    database = Database(conf)
    migration.upgrade(database)
    announced = {
        HOST: {
            "agent": str(uuid.uuid4()),
            "address": "192.0.2.1",
            "release": "1.0",
            "slots": 1,
            "plugins": {"linux_system": {"ping": {"description": "Ping.", "schema": {}}}},
        }
    }
    now = datetime.now(UTC)
    database.write(hosts.announce, announced, now)
    database.write(services.beat, services.AGENT, {HOST: None}, now)
    database.close()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 60).close()
    except ConnectionRefusedError:
        return False
    return True


def test_the_listener_closes_first(api: Running) -> None:
    with (
        socket.create_connection(("127.0.0.1", api.port), 60) as idle,
        socket.create_connection(("127.0.0.1", api.port), 60) as busy,
    ):
        idle.sendall(b"GET /v2.1/slaves HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        busy.sendall(
            b"POST /v2.1/testcases HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
            b"Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n"
        )
        # The application is reading the body: the request is under way.
        assert busy.recv(65536).startswith(b"HTTP/1.1 100")
        api.program.process.send_signal(signal.SIGTERM)
        until(lambda: not listens(api.port))
        assert idle.recv(1) == b""
        assert api.program.process.poll() is None
        busy.sendall(b"{}")
        answer = busy.recv(65536)
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"\r\nConnection: close\r\n" in answer
    assert api.program.process.wait(60) == 0
    assert "Traceback" not in api.program.output()


def test_who_waits_or_follows_is_let_go(api: Running) -> None:
    body = json.dumps({"plugin": "linux_system", "method": "ping", "host": HOST, "parameters": {}})
    post = ("-d", body, "-H", "Content-Type: application/json")
    case = curl(f"{api.url}/testcases", *post)
    argv = ["curl", "-sSN", "-m", "180"]
    with (
        subprocess.Popen(
            [*argv, f"{api.url}/testcases/{case['id']}/output?follow=true"],
            stdout=subprocess.PIPE,
        ) as follower,
        subprocess.Popen(
            [*argv, f"{api.url}/testcases?wait=300", *post], stdout=subprocess.PIPE
        ) as waiter,
    ):
        until(lambda: len(curl(f"{api.url}/testcases")["testcases"]) == 2)
        assert api.program.stop() == 0
        assert follower.wait(60) == 0
        assert json.loads(waiter.communicate(timeout=60)[0])["state"] in ("queued", "running")


def test_workers_end_with_their_parent(api: Running) -> None:
    parent = api.program.process
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    workers = until(lambda: len(found := children.read_text().split()) == 2 and found)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    # Whoever starts it anew finds the port free.
    until(lambda: not any(map(lives, workers)))
    argv = [str(BIN / "labapi-api"), "--config-file", str(api.config)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as again:
        assert again.stdout is not None
        assert "listens on" in again.stdout.readline()
        again.terminate()
        again.communicate(timeout=60)
