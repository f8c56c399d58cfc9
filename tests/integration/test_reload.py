"""SIGHUP puts a new pipeline and policy in place, and nobody who uses the API notices."""

from __future__ import annotations

import http.client
import json
import os
import pty
import signal
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab import ROOT, Gate, MariaDB, RabbitMQ, until
from tests.programs import Program, curl, free_port, run

SHIPPED = (ROOT / "etc" / "api-paste.ini").read_text()
RELOADED = "a new pipeline serves"
AUDITED = SHIPPED.replace("    proxy\n", "    proxy\n    audit\n    metrics\n")
AUDITED = AUDITED.replace("/ = root\n", "/ = root\n/metrics = metrics_page\n")


class Running(NamedTuple):
    program: Program
    paste: Path
    port: int
    workers: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reload(self) -> None:
        before = self.program.output().count(RELOADED)
        self.program.process.send_signal(signal.SIGHUP)
        until(lambda: self.program.output().count(RELOADED) == before + self.workers)

    def refuse(self, said: str) -> None:
        before = self.program.output().count("the old pipeline stays")
        self.program.process.send_signal(signal.SIGHUP)
        until(lambda: self.program.output().count("the old pipeline stays") == before + 1)
        assert said in self.program.output()


def configured(folder: Path, port: int, more: str = "") -> Path:
    (folder / "api-paste.ini").write_text(SHIPPED)
    (folder / "policy.yaml").touch()
    config = folder / "labapi.conf"
    config.write_text(
        f"[DEFAULT]\nstate_path = {folder}/state\n[api]\nport = {port}\nworkers = 2\n{more}"
        f"[oslo_policy]\npolicy_file = {folder}/policy.yaml\n"
    )
    return config


@pytest.fixture(params=["labapi-all", "labapi-api"])
def api(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    mariadb: MariaDB,
    rabbitmq: RabbitMQ,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Running]:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # where a test puts filters of its own
    port = free_port()
    more, workers = "", 1
    if request.param == "labapi-api":
        workers = 2
        more = f"[database]\nconnection = {mariadb.url}\n"
        more += f"[messaging]\ntransport_url = {rabbitmq.url}\n"
    config = configured(tmp_path, port, more)
    if workers == 2:
        run("labapi-manage", "--config-file", str(config), "db", "upgrade")
    program = Program(request.param, "--config-file", str(config), log=tmp_path / "log")
    program.says("listens on")
    running = Running(program, tmp_path / "api-paste.ini", port, workers)
    until(lambda: curl(f"{running.url}/v2.1/slaves") is not None)
    yield running
    assert program.stop() == 0, program.output()
    assert "Traceback" not in program.output()


class Client(threading.Thread):
    """Asks without a pause until it is told to stop, and keeps what went wrong.

    :param keep_alive: use one connection for everything, and not one for each request
    """

    def __init__(self, port: int, keep_alive: bool) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.keep_alive = keep_alive
        self.stopped = threading.Event()
        self.answers = 0
        self.failures: list[str] = []

    def run(self) -> None:
        connection = None
        while not self.stopped.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                connection.request("GET", "/v2.1/slaves")
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    self.failures.append(f"status {response.status}")
                self.answers += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                connection = None
            if connection is not None and not self.keep_alive:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def stop(self) -> None:
        self.stopped.set()
        self.join()


def test_twenty_reloads_under_load(api: Running) -> None:
    # More than the shipped rate limit would let through in a minute.
    api.paste.write_text(SHIPPED.replace("6000 per minute", "900000 per minute"))
    api.reload()
    clients = [Client(api.port, keep_alive) for keep_alive in (True, False)]
    for client in clients:
        client.start()
    for _ in range(20):
        before = [client.answers for client in clients]
        api.reload()
        until(lambda before=before: all(c.answers > b for c, b in zip(clients, before)))  # noqa: B905
    for client in clients:
        client.stop()
    assert [client.failures for client in clients] == [[], []]


def test_a_filter_that_is_added_and_removed(api: Running, tmp_path: Path) -> None:
    audit = tmp_path / "audit"
    text = AUDITED.replace("#audit\n", f"#audit\nfile = {audit}\n")
    api.paste.write_text(text)
    api.reload()
    curl("-X", "DELETE", f"{api.url}/v2.1/testcases/no-such-case")
    until(lambda: "/v2.1/testcases/no-such-case" in audit.read_text())
    url = f"{api.url}/metrics"
    assert "labapi_http_requests_total" in _get(url)
    assert _held(api, audit) == api.workers
    api.paste.write_text(SHIPPED)
    api.reload()
    curl("-X", "DELETE", f"{api.url}/v2.1/testcases/no-other-case")
    assert "no-other-case" not in audit.read_text()
    assert not _get(url)
    until(lambda: _held(api, audit) == 0, what="the end of the audit file")


def test_a_file_that_cannot_work_changes_nothing(api: Running) -> None:
    api.paste.write_text(SHIPPED.replace("\n    context\n", "\n    contxt\n"))
    api.refuse("there is no section [filter:contxt]; did you mean 'context'?")
    assert api.program.output().count("there is no section [filter:contxt]") == 1
    api.paste.write_text("[composite:main\n")
    api.refuse("api-paste.ini")
    assert curl(f"{api.url}/v2.1/slaves") is not None
    api.paste.unlink()
    api.refuse("api-paste.ini: No such file or directory")
    assert curl(f"{api.url}/v2.1/slaves") is not None


def test_a_filter_that_fails_only_when_it_is_built(api: Running) -> None:
    text = SHIPPED.replace("\n    context\n", "\n    context\n    broken\n")
    text += "\n[filter:broken]\npaste.filter_factory = argparse:ArgumentParser\n"
    api.paste.write_text(text)
    api.refuse(f"{api.paste}: [filter:broken]: ")
    assert curl(f"{api.url}/v2.1/slaves") is not None


HOSTILE = """
import os, sys

def fails(global_conf):
    raise ZeroDivisionError("by\\nzero")

def exits(global_conf):
    sys.exit("enough")

def fails_late(global_conf):
    def wrap(app):
        raise OSError("no such thing")
    return wrap

def ends(global_conf):
    os._exit(0)
"""


def with_filter(factory: str) -> str:
    text = SHIPPED.replace("\n    context\n", "\n    context\n    hostile\n")
    return f"{text}\n[filter:hostile]\npaste.filter_factory = {factory}\n"


# A text, and the words of the line that refuses it.
WRONG = [
    ("[DEFAULT]\nwhere = 100%\n" + SHIPPED, ["api-paste.ini"]),
    (SHIPPED.replace("v2.1 = v2.1", "v2.1 = config:a\0b"), ["api-paste.ini"]),
    (with_filter("exits_on_import:factory"), ["exits_on_import:factory", "[filter:hostile]"]),
    (with_filter("hostile:fails"), ["hostile:fails", "[filter:hostile]", "ZeroDivisionError"]),
    (with_filter("hostile:exits"), ["hostile:exits", "[filter:hostile]", "SystemExit"]),
    (with_filter("hostile:fails_late"), ["hostile:fails_late", "[filter:hostile]", "OSError"]),
]


def test_whatever_a_file_or_a_module_does_the_old_pipeline_stays(
    api: Running, tmp_path: Path
) -> None:
    (tmp_path / "hostile.py").write_text(HOSTILE)
    (tmp_path / "exits_on_import.py").write_text("import sys\nsys.exit(3)\n")
    for text, words in WRONG:
        api.paste.write_text(text)
        api.refuse(words[0])
        said = [line for line in api.program.output().splitlines() if words[0] in line]
        assert all(word in said[-1] for word in words), said[-1]
        assert curl(f"{api.url}/v2.1/slaves") is not None
    if api.workers > 1:  # a process of its own is what saves it from this one
        api.paste.write_text(with_filter("hostile:ends"))
        api.refuse("something in it ended the process that tried it")
    api.paste.write_text(SHIPPED)
    api.reload()
    assert curl(f"{api.url}/v2.1/slaves") is not None


def test_new_workers_get_the_last_good_files(api: Running, tmp_path: Path) -> None:
    if api.workers == 1:
        return  # labapi-all has none
    other = tmp_path / "other.ini"
    other.write_text(SHIPPED)
    api.paste.write_text(SHIPPED.replace("v2.1 = v2.1", "v2.1 = config:other.ini#v2.1"))
    api.reload()
    other.write_text("[composite:main\n")
    (tmp_path / "policy.yaml").write_text("- no mapping\n")
    api.refuse("policy.yaml: expected lines")
    workers = _children(api.program.process.pid)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(new := _children(api.program.process.pid)) == 2 and not {*new} & {*workers})
    assert curl(f"{api.url}/v2.1/slaves") is not None
    (tmp_path / "policy.yaml").write_text("")
    other.write_text(SHIPPED)
    api.reload()


def test_the_policy(api: Running, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    url = f"{api.url}/v2.1/slaves"
    policy.write_text('"slaves:show": "!"\n')
    assert "forbidden" not in curl(url)  # not before it is told
    api.reload()
    assert "slaves:show" in curl(url)["forbidden"]["message"]
    policy.write_text('"slaves:shwo": "@"\n')
    api.refuse("policy.yaml: slaves:shwo: nothing asks for this rule; did you mean 'slaves:show'?")
    assert "forbidden" in curl(url)
    policy.unlink()
    api.refuse("policy.yaml: there is no such file")
    assert "forbidden" in curl(url)
    policy.write_text('"slaves:show": "@"\n')
    api.reload()
    assert "forbidden" not in curl(url)


def test_a_request_under_way_ends_as_it_began(api: Running, tmp_path: Path) -> None:
    if api.workers > 1:
        pytest.skip("labapi-api alone has no host whose case could be waited for")
    (slave,) = until(lambda: curl(f"{api.url}/v2.1/slaves")).values()
    gate = Gate(tmp_path / "gate")
    case = {"plugin": "linux_system", "host": slave["host"], "method": "run_shell"}
    case["parameters"] = {"command": "sh", "args": ["-c", gate.wait]}
    request = urllib.request.Request(
        f"{api.url}/v2.1/testcases?wait=120",
        json.dumps(case).encode(),
        {"Content-Type": "application/json"},
    )
    answers: list[tuple[int, str]] = []

    def wait() -> None:
        with urllib.request.urlopen(request, timeout=180) as response:
            answers.append((response.status, json.load(response)["result"]))

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: curl(f"{api.url}/v2.1/testcases")["testcases"])
    api.reload()
    gate.open()
    waiting.join()
    assert answers == [(200, "PASS")]


def test_a_terminal_that_is_closed_ends_the_program(tmp_path: Path) -> None:
    port = free_port()
    config = configured(tmp_path, port)
    log = tmp_path / "log"
    pid, terminal = pty.fork()
    if not pid:
        with log.open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        program = Path(os.sys.executable).parent / "labapi-all"  # type: ignore[attr-defined]
        os.execv(program, [program, "--config-file", str(config)])
    until(lambda: log.exists() and b"listens on" in log.read_bytes())
    os.close(terminal)  # the kernel sends SIGHUP
    assert until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return str(response.read(), "ascii")
    except OSError:
        return ""


def _held(api: Running, file: Path) -> int:
    """Count the descriptors that the program has on a file."""
    parent = api.program.process.pid
    pids = (parent, *_children(parent))
    links = [link for pid in pids for link in _links(Path(f"/proc/{pid}/fd"))]
    return links.count(str(file))


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _links(folder: Path) -> Iterator[str]:
    for entry in folder.iterdir():
        try:
            yield os.readlink(entry)
        except OSError:
            continue
