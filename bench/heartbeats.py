"""What the heartbeats of a large lab cost: CPU of one conductor and of its database.

    python bench/heartbeats.py [--agents N] [--interval S] [--seconds S] [--down-time S]

Starts a MariaDB server and a ``labapi-conductor`` of its own, with a virtual host of its own on
the RabbitMQ of this machine, and sends the heartbeats of simulated agents, spread evenly. CPU time
is that of the two processes over the run, as a share of one core. Then a hundred agents fall
silent, and it is measured how much later than ``service_down_time`` after its last heartbeat each
of them is seen as down.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from labapi import config
from labapi.db import hosts, migration, services
from labapi.db.session import Database, Record
from labapi.rpc.messages import Announce, Heartbeat, Message, MethodDescription
from labapi.rpc.publisher import Envelope, Publisher
from labapi.rpc.transport import HEARTBEAT_QUEUE, REPORTS, Transport
from labapi.servicegroup.driver import heard_lately

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.lab import RabbitMQ
from tests.processes import Process, until
from tests.programs import Program, free_port

SLICE = 0.05  # seconds between batches of heartbeats
SILENT = 100  # agents that fall silent in the end
OFFERED = {"linux_system": {"run_shell": MethodDescription(description="Run a program")}}


class Lab(NamedTuple):
    """What is measured, and what it is measured with."""

    database: Database
    transport: Transport
    watched: dict[str, psutil.Process]
    down_time: float


@contextlib.contextmanager
def mariadb(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run a server; yield the URL of an empty database and the process."""
    data, port = folder / "mariadb", free_port()
    folder.chmod(0o755)
    subprocess.run(
        [
            *("mariadb-install-db", "--user=mysql", f"--datadir={data}"),
            "--auth-root-authentication-method=normal",
        ],
        check=True,
        capture_output=True,
    )
    server = Process(
        [
            *("mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}"),
            *("--bind-address=127.0.0.1", f"--port={port}", f"--socket={data}/s.sock"),
        ],
        folder / "mariadbd.log",
    )
    client = ["mariadb", f"--socket={data}/s.sock", "-uroot", "-e"]
    try:
        server.until(
            lambda: subprocess.run([*client, "SELECT 1"], capture_output=True).returncode == 0, 60
        )
        subprocess.run([*client, "CREATE DATABASE lab"], check=True)
        yield f"mysql+pymysql://root@127.0.0.1:{port}/lab", psutil.Process(server.pid)
    finally:
        server.stop()


@contextlib.contextmanager
def lab(folder: Path, down_time: float) -> Iterator[Lab]:
    broker = RabbitMQ().create()
    try:
        with mariadb(folder) as (url, server):
            file = folder / "labapi.conf"
            file.write_text(
                f"[DEFAULT]\nstate_path = {folder}\n[database]\nconnection = {url}\n"
                f"[messaging]\ntransport_url = {broker.url}\n"
                f"[conductor]\nservice_down_time = {down_time}\n"
            )
            conf = config.new()
            conf(["--config-file", str(file)], project="labapi")
            database = Database(conf)
            migration.upgrade(database)
            program = Program("labapi-conductor", "--config-file", str(file), log=folder / "log")
            conductor = psutil.Process(program.process.pid)
            try:
                watched = {"conductor": conductor, "mariadbd": server}
                yield Lab(database, Transport(conf), watched, down_time)
            finally:
                program.stop()
                print(program.output(), end="")
                database.close()
    finally:
        broker.drop()


class Agents:
    """Simulated agents that send through one connection.

    :param interval: seconds between the heartbeats of one agent
    """

    def __init__(self, transport: Transport, count: int, interval: float) -> None:
        self.names = [f"lab-{number:05}.example.org" for number in range(count)]
        self._ids = {name: str(uuid.uuid4()) for name in self.names}
        self._confirmed = Publisher(transport)
        self._publisher = Publisher(transport, confirm=False)
        self._rate = count / interval
        self.last: dict[str, float] = {}
        self._position = 0
        self._begun = 0.0
        self._turns = 0

    def announce(self) -> None:
        """Have all of them announce themselves."""
        messages = [
            Announce(host=n, agent=self._ids[n], address=None, release="0.1.0", plugins=OFFERED)
            for n in self.names
        ]
        for start in range(0, len(messages), 500):
            self._confirmed.publish([_envelope(m, m.host) for m in messages[start : start + 500]])

    def beat(self, seconds: float, silent: frozenset[str] = frozenset()) -> int:
        """Send at the agents' pace for so long; return how many heartbeats were sent."""
        self._begun = self._begun or time.monotonic()
        until = time.monotonic() + seconds
        sent = 0
        while (moment := time.monotonic()) < until:
            due = round((moment - self._begun) * self._rate) - self._turns
            batch = [self._next() for _ in range(due)]
            self._turns += due
            names = [name for name in batch if name not in silent]
            self.last.update(dict.fromkeys(names, time.time()))
            self._publisher.publish([_envelope(self._heartbeat(n), n) for n in names])
            sent += len(names)
            time.sleep(max(0.0, moment + SLICE - time.monotonic()))
        return sent

    def _next(self) -> str:
        self._position = (self._position + 1) % len(self.names)
        return self.names[self._position]

    def _heartbeat(self, name: str) -> Heartbeat:
        moment = time.time()
        facts = {
            **{"release": "0.1.0", "python": "3.11.2", "boot_id": self._ids[name]},
            **{"memory_total_mib": 64000, "memory_available_mib": 1000 + int(moment) % 50000},
            **{"load1": round(moment % 8, 2), "disk_free_mib": 100000, "slots": 8},
            **{"running": int(moment) % 8, "waiting": 0, "abandoned": 0},
        }
        return Heartbeat(host=name, agent=self._ids[name], clock=moment, facts=facts)


def _envelope(message: Message, host: str) -> Envelope:
    return Envelope(message, f"heartbeat.{host}", REPORTS.name)


def measure(lab: Lab, agents: Agents, seconds: float) -> None:
    before = {name: _cpu(process) for name, process in lab.watched.items()}
    begun = time.monotonic()
    sent = agents.beat(seconds)
    with lab.transport.connect(heartbeat=False) as connection, connection.channel() as channel:
        left = channel.queue_declare(HEARTBEAT_QUEUE.name, passive=True).message_count
    elapsed = time.monotonic() - begun
    print(f"sent {sent} heartbeats in {elapsed:.1f} s: {sent / elapsed:.0f}/s; {left} not taken in")
    total = 0.0
    for name, process in lab.watched.items():
        share = (_cpu(process) - before[name]) / elapsed
        total += share
        print(f"{name:10} {share:6.1%} of one core")
    print(f"{'together':10} {total:6.1%} of one core, {total / sent * elapsed * 1e6:.0f} us each")
    up = sum(_up(lab).values())
    print(f"{up} of {len(agents.names)} hosts are up")


def fall_silent(lab: Lab, agents: Agents) -> None:
    """Have some agents fall silent; print how late each is seen as down."""
    silent = frozenset(agents.names[:: len(agents.names) // SILENT][:SILENT])
    down: dict[str, float] = {}
    begun = time.monotonic()
    while len(down) < len(silent) and time.monotonic() - begun < 3 * lab.down_time + 30:
        agents.beat(0.1, silent)
        rows = lab.database.read(hosts.heard, silent - down.keys())
        now = datetime.datetime.now(datetime.UTC)
        down |= {row.host: now.timestamp() for row in rows if not _is_up(lab, row, now)}
    wrongly = [name for name, up in _up(lab).items() if not up and name not in silent]
    late = sorted(down[name] - agents.last[name] - lab.down_time for name in down)
    print(
        f"{len(down)} of {len(silent)} silent hosts seen as down, later than service_down_time by"
        f" {late[0]:.2f} to {late[-1]:.2f} s, half of them by {late[len(late) // 2]:.2f} s;"
        f" {len(wrongly)} others seen as down"
    )


def _up(lab: Lab) -> dict[str, bool]:
    rows = lab.database.read(services.every, binary=services.AGENT)
    now = datetime.datetime.now(datetime.UTC)
    return {row.host: _is_up(lab, row, now) for row in rows}


def _is_up(lab: Lab, row: Record, now: datetime.datetime) -> bool:
    return heard_lately(row, now, lab.down_time)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between heartbeats")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the measurement")
    parser.add_argument("--down-time", type=float, default=20.0, help="service_down_time")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="labapi-bench-") as folder,
        lab(Path(folder), args.down_time) as running,
    ):
        agents = Agents(running.transport, args.agents, args.interval)
        agents.announce()
        agents.beat(args.interval + 2)  # every agent once: from here on nothing is new
        until(lambda: len(_up(running)) == args.agents, 60)
        measure(running, agents, args.seconds)
        fall_silent(running, agents)


if __name__ == "__main__":
    main()
