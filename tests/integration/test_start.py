"""Programs that start before their servers do, and what systemd is told of it."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labapi.cmd import start
from labapi.exceptions import Unavailable
from tests.lab import ROOT, MariaDB, RabbitMQ
from tests.processes import Process, free_port
from tests.programs import BIN, run


class Forwarder:
    """A port behind which a server can be, or not."""

    def __init__(self, to: int) -> None:
        self.port = free_port()
        self._to = to
        self._listener: socket.socket | None = None

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):  # closed already
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._to)) as server:
            other = {client: server, server: client}
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    other[source].sendall(data)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Return what systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(60)
        yield listening


@pytest.mark.parametrize("name", ["labapi-api", "labapi-conductor"])
def test_it_waits_for_its_servers(
    name: str, tmp_path: Path, mariadb: MariaDB, rabbitmq: RabbitMQ, manager: socket.socket
) -> None:
    database, broker = Forwarder(3306), Forwarder(5672)
    config = tmp_path / "labapi.conf"
    config.write_text(
        f"[DEFAULT]\nstate_path = {tmp_path}\n"
        f"[api]\nport = {free_port()}\npaste_config = {ROOT}/etc/api-paste.ini\n"
        f"[database]\nconnection = {mariadb.url.replace('3306', str(database.port))}\n"
        f"[messaging]\nretry_interval_max = 0.5\n"
        f"transport_url = {rabbitmq.url.replace('5672', str(broker.port))}\n"
    )
    database.open()
    assert run("labapi-manage", "--config-file", str(config), "db", "upgrade").returncode == 0
    database.close()
    env = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
    program = Process([BIN / name, "--config-file", str(config)], tmp_path / "log", env)
    try:
        assert b"STATUS=waiting: " in manager.recv(4096)
        program.says("waiting: ")
        assert program.output().count("waiting: ") == 1
        database.open()
        if name == "labapi-conductor":
            assert f"the message broker 127.0.0.1:{broker.port} is away".encode() in manager.recv(
                4096
            )
            broker.open()
        assert manager.recv(4096).startswith(b"READY=1")
        assert program.stop() == 0
        assert manager.recv(4096) == b"STOPPING=1"
        assert "Traceback" not in program.output()
    finally:
        program.kill()
        database.close()
        broker.close()


def test_it_can_be_stopped_while_it_waits(tmp_path: Path) -> None:
    config = tmp_path / "labapi.conf"
    config.write_text(
        "[database]\nconnection = mysql+pymysql://root@127.0.0.1:9/lab\n"
        "[messaging]\ntransport_url = amqp://127.0.0.1:9\n"
    )
    for name in ("labapi-api", "labapi-conductor"):
        log = tmp_path / f"{name}.log"
        program = Process([BIN / name, "--config-file", str(config)], log)
        program.says("waiting: ")
        assert program.stop() == 0


def test_it_says_so_again_every_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now, tries = [0.0], []
    stop = threading.Event()
    monkeypatch.setattr(stop, "wait", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def away() -> None:
        tries.append(now[0])
        if now[0] < 150:
            raise Unavailable("it is away")

    assert start.wait_for(away, stop)
    assert len(tries) == 151
    assert [record.getMessage() for record in caplog.records] == 3 * ["waiting: it is away"]
