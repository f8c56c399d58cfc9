"""``labapi-all``, and what its user sees when it cannot start."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.lab import until
from tests.programs import Program, curl, free_port, run


def start(folder: Path, port: int, log: str = "log") -> Program:
    return Program(
        "labapi-all", "--state-path", str(folder), "--api-port", str(port), log=folder / log
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_a_case_and_stops_cleanly(tmp_path: Path, number: int) -> None:
    port = free_port()
    program = start(tmp_path, port)
    program.says(f"labapi listens on http://127.0.0.1:{port}")
    program.says("curl -s")
    url = f"http://127.0.0.1:{port}/v2.1"
    (slave,) = until(lambda: curl(f"{url}/slaves")).values()
    body = (
        f'{{"plugin": "linux_system", "host": "{slave["host"]}", "method": "run_shell",'
        ' "parameters": {"command": "uname"}}'
    )
    case = curl(f"{url}/testcases?wait=60", "-H", "Content-Type: application/json", "-d", body)
    assert (case["result"], case["output"]) == ("PASS", "Linux\n")
    assert program.stop(number) == 0
    assert "Traceback" not in program.output()


def test_who_waits_or_follows_does_not_keep_it_from_stopping(tmp_path: Path) -> None:
    port = free_port()
    program = start(tmp_path, port)
    program.says("listens on")
    url = f"http://127.0.0.1:{port}/v2.1/testcases"
    (slave,) = until(lambda: curl(f"http://127.0.0.1:{port}/v2.1/slaves")).values()
    body = (
        f'{{"plugin": "linux_system", "host": "{slave["host"]}", "method": "run_shell",'
        ' "parameters": {"command": "sh", "args": ["-c", "echo begun; sleep 600"]}}'
    )
    post = ("-d", body, "-H", "Content-Type: application/json")
    case = curl(url, *post)
    with (
        subprocess.Popen(
            ["curl", "-sN", "-m", "180", f"{url}/{case['id']}/output?follow=true"],
            stdout=subprocess.PIPE,
        ) as follower,
        subprocess.Popen(
            ["curl", "-s", "-m", "180", f"{url}?wait=300", *post], stdout=subprocess.PIPE
        ) as waiter,
    ):
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"begun\n"
        until(lambda: len(curl(url)["testcases"]) == 2)
        assert program.stop(signal.SIGTERM) == 0
        assert follower.wait(60) == 0  # it was told the end, not cut off
        assert json.loads(waiter.communicate(timeout=60)[0])["state"] in ("queued", "running")


@pytest.mark.parametrize(
    "request_text",
    [
        "GET /v2.1 HTTP/1.1\r\nHost: localhost\r\nX: " + 100_000 * "x" + "\r\n\r\n",
        "POST /v2.1/testcases HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{",
    ],
    ids=["headers", "chunk"],
)
def test_it_reads_no_more_than_it_must(tmp_path: Path, request_text: str) -> None:
    port = free_port()
    program = start(tmp_path, port)
    program.says("listens on")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        with contextlib.suppress(ConnectionError):  # it need not read all of this
            client.sendall(request_text.encode())
        assert client.recv(12).startswith(b"HTTP/1.1 4")
    program.stop(signal.SIGTERM)
    assert "Traceback" not in program.output()


def test_a_case_survives_the_end_of_the_program(tmp_path: Path) -> None:
    port = free_port()
    first = start(tmp_path, port)
    first.says("listens on")
    (slave,) = until(lambda: curl(f"http://127.0.0.1:{port}/v2.1/slaves")).values()
    body = (
        f'{{"plugin": "linux_system", "host": "{slave["host"]}", "method": "run_shell",'
        ' "parameters": {"command": "sh", "args": ["-c", "echo begun; sleep 600"]}}'
    )
    case = curl(
        *(f"http://127.0.0.1:{port}/v2.1/testcases", "-d", body),
        *("-H", "Content-Type: application/json"),
    )
    url = f"http://127.0.0.1:{port}/v2.1/testcases/{case['id']}"
    until(lambda: curl(url)["output"] == "begun\n")
    first.stop(signal.SIGKILL)
    second = start(tmp_path, port, "second")
    second.says("listens on")
    try:
        now = until(lambda: (c := curl(url))["state"] == "finished" and c)
        assert (now["result"], now["reason"]) == ("ERROR", "agent_restarted")
        assert now["output"] == "begun\n"
    finally:
        second.stop()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = run("labapi-all", "--state-path", str(tmp_path), "--api-port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"labapi-all: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_another_one_in_the_state_folder(tmp_path: Path) -> None:
    first = start(tmp_path, free_port())
    first.says("listens on")
    args = ["--state-path", str(tmp_path), "--api-port", str(free_port()), "--agent-host", "other"]
    done = run("labapi-all", *args)
    assert done.returncode == 1
    assert done.stderr == (
        f"labapi-all: another labapi-all uses the state folder {tmp_path}; stop it, or give this"
        " one another with --state-path\n"
    )
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    second = start(tmp_path, free_port(), "second")
    second.says("listens on")
    assert second.stop() == 0


def test_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    done = run("labapi-all", "--state-path", str(file / "state"))
    assert done.returncode == 1
    assert done.stderr == (
        f"labapi-all: the state folder {file}/state cannot be written: Not a directory\n"
    )


def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "labapi.sqlite") as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")
    database.close()
    done = run("labapi-all", "--state-path", str(tmp_path), "--api-port", str(free_port()))
    assert done.returncode == 1
    assert done.stderr.startswith("labapi-all: the database was made by a newer version of labapi")
    assert done.stderr.count("\n") == 1


def test_a_paste_file_that_is_not_there(tmp_path: Path) -> None:
    config = tmp_path / "labapi.conf"
    config.write_text("[api]\npaste_config = /nowhere/api-paste.ini\n")
    args = ["--state-path", str(tmp_path), "--api-port", str(free_port())]
    done = run("labapi-all", "--config-file", str(config), *args)
    assert done.returncode == 1
    assert "there is no such file" in done.stderr


@pytest.mark.parametrize(
    "name", ["labapi-all", "labapi-api", "labapi-conductor", "labapi-agent", "labapi-manage"]
)
def test_help(name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0
    assert "--config-file" in done.stdout
