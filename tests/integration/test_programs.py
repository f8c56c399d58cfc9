"""The three programs as processes against MariaDB and RabbitMQ, used with curl."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import labapi_client
from labapi.rpc import signing
from tests.lab import ROOT, Gate, MariaDB, RabbitMQ, until
from tests.programs import Program, curl, free_port, run
from tests.proxy import Proxy


class Running(NamedTuple):
    url: str
    config: Path
    programs: dict[str, Program]


@pytest.fixture(scope="module")
def lab(
    tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB, rabbitmq: RabbitMQ
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("programs")
    port = free_port()
    config = folder / "labapi.conf"
    config.write_text(
        f"""
[DEFAULT]
state_path = {folder}/state
[api]
port = {port}
workers = 2
paste_config = {ROOT}/etc/api-paste.ini
[database]
connection = {mariadb.url}
[messaging]
transport_url = {rabbitmq.url}
[conductor]
signing_key = {folder}/conductor.key
[agent]
trusted_keys = {folder}/conductor.key.pub
host = lab-7
address = 127.0.0.1
plugins = linux_system,build_server
"""
    )
    upgraded = run("labapi-manage", "--config-file", str(config), "db", "upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    made = run("labapi-manage", "key", "create", str(folder / "conductor.key"))
    assert made.returncode == 0, made.stderr
    programs = {
        name: Program(name, "--config-file", str(config), log=folder / f"{name}.log")
        for name in ("labapi-conductor", "labapi-agent", "labapi-api")
    }
    programs["labapi-api"].says("listens on")
    url = f"http://127.0.0.1:{port}"
    until(lambda: curl(f"{url}/v2.1/slaves"), what="the agent's announcement")
    yield Running(url, config, programs)
    statuses = {name: program.stop() for name, program in programs.items()}
    assert statuses == dict.fromkeys(programs, 0), {n: p.output() for n, p in programs.items()}


def test_each_says_what_it_is_in_one_line(lab: Running) -> None:
    (public,) = signing.trusted([str(lab.config.with_name("conductor.key.pub"))])
    key = signing.key_id(public)
    for name, parts in (
        ("labapi-api", ["database mysql+pymysql://root@127.0.0.1:3306/labapi_test_", "workers 2"]),
        ("labapi-conductor", [f"signs with key {key}", "lost_after 300.0"]),
        ("labapi-agent", [f"trusts key {key}", "plugins linux_system build_server", "slots 8"]),
    ):
        (line,) = re.findall(rf".* {name} [0-9.]+ on .*", lab.programs[name].says(name).output())
        for part in ("broker amqp://guest@127.0.0.1:5672/labapi-test-", *parts):
            assert part in line
        assert "guest:guest" not in lab.programs[name].output()


def test_slaves(lab: Running) -> None:
    ((uuid, slave),) = curl(f"{lab.url}/v2.1/slaves").items()
    assert slave == {"id": 1, "host": "lab-7"}
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid)


def test_slaves_in_detail(lab: Running) -> None:
    ((uuid, slave),) = curl(f"{lab.url}/v2.1/slaves/detail").items()
    assert slave["compute_node_type"] == "linux_system,build_server"
    assert set(slave["compute_node_method"]) == {"linux_system", "build_server"}
    for methods in slave["compute_node_method"].values():
        assert isinstance(methods["run_shell"], str)
        assert isinstance(methods["system_information"], str)
    alone = curl(f"{lab.url}/v2.1/slaves/1")
    assert alone.pop("facts")["memory_total_mib"] > 0
    assert {**alone, "last_seen": slave["last_seen"]} == {**slave, "uuid": uuid}


def test_run_a_case(lab: Running) -> None:
    body = (
        '{"plugin":"linux_system","host":"127.0.0.1","method":"run_shell",'
        '"parameters":{"command":"ls","args":"-alt"}}'
    )
    case = curl(
        *(f"{lab.url}/v2.1/testcases", "-X", "POST"),
        *("-H", "Content-Type:application/json", "-d", body),
    )
    assert case["state"] in ("queued", "running")
    assert case["host"] == "lab-7"

    def finished() -> dict[str, object] | None:
        now = curl(f"{lab.url}/v2.1/testcases/{case['id']}")
        return now if now["state"] == "finished" else None

    done = until(finished)
    assert (done["result"], done["exit_code"]) == ("PASS", 0)
    assert done["output"].startswith("total ")


def test_wait_in_many_clients_at_once(lab: Running) -> None:
    body = json.dumps(
        {
            "plugin": "linux_system",
            "host": "lab-7",
            "method": "run_shell",
            "parameters": {"command": "echo", "args": "hello"},
        }
    )
    argv = ["curl", "-sS", f"{lab.url}/v2.1/testcases?wait=60"]
    argv += ["-H", "Content-Type: application/json", "-d", body, "-w", "%{http_code}"]
    clients = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(20)]
    for client in clients:
        answer, _ = client.communicate(timeout=120)
        assert answer.endswith("}\n200")
        assert json.loads(answer[:-3])["output"] == "hello\n"


def test_a_worker_that_dies_is_replaced(lab: Running) -> None:
    parent = lab.programs["labapi-api"].process.pid
    workers = until(lambda: len(found := _children(parent)) == 2 and found)
    os.kill(workers[0], signal.SIGKILL)
    until(lambda: len(_children(parent)) == 2 and workers[0] not in _children(parent))
    assert curl(f"{lab.url}/v2.1/slaves")


def test_the_client_over_bad_connections_and_a_restart(lab: Running, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    proxy = Proxy(int(lab.url.rpartition(":")[2]))
    proxy.cut_after(4000)
    script = f"seq 5000; {gate.wait}; seq 5001 9999"
    with labapi_client.connect(f"http://127.0.0.1:{proxy.port}") as client:
        run = client.testcases.run(
            *("linux_system", "run_shell", "lab-7"), {"command": "sh", "args": ["-c", script]}
        )
        got = b""
        for piece in run:
            got += piece
            if got.endswith(b"\n5000\n"):
                restart_the_api(lab)
                gate.open()
        proxy.close()
        assert got == b"".join(b"%d\n" % number for number in range(1, 10_000))
    assert proxy.broken > 5
    assert run.case.state == "finished"


def restart_the_api(lab: Running) -> None:
    api = lab.programs["labapi-api"]
    assert api.stop() == 0
    log = api.log.with_name("labapi-api-again.log")
    again = Program("labapi-api", "--config-file", str(lab.config), log=log)
    lab.programs["labapi-api"] = again.says("listens on")


def test_services_say_what_is_missing(lab: Running, tmp_path: Path) -> None:
    config = tmp_path / "labapi.conf"
    config.write_text("[messaging]\ntransport_url = memory://\n")
    for name in ("labapi-api", "labapi-conductor", "labapi-agent"):
        done = run(name, "--config-file", str(config), "--state-path", str(tmp_path), cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert "memory://, which joins the services of one process only" in done.stderr


def test_migrations(lab: Running) -> None:
    manage = ["--config-file", str(lab.config)]
    current = run("labapi-manage", *manage, "db", "current").stdout.strip()
    history = json.loads(run("labapi-manage", *manage, "db", "history", "-f", "json").stdout)
    assert history[0]["Revision"] == current
    assert "stays at" in run("labapi-manage", *manage, "db", "upgrade").stdout


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
