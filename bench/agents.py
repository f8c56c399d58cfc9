"""What many agents cost one broker, and how they come back when it was restarted.

    python -m bench.run [--quick] agents

A RabbitMQ node of its own, two conductors, an API and one real agent; beside them a thousand
simulated ones, each with a connection, two queues, announcements and heartbeats of its own.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench import load
from bench.dispatch import CASE, MANY, PASSED, WAIT
from bench.environments import ROOT
from bench.installation import Installation, mariadb
from bench.report import Samples, table
from labapi.db import services, testcases
from labapi.db.session import Database
from tests.chaos.servers import RabbitMQServer
from tests.processes import until

AGENTS, QUICK_AGENTS = 1000, 100
PROCESSES = 4
IDLE, QUICK_IDLE = 30.0, 10.0  # seconds for which the broker's CPU is counted
ROUNDS, QUICK_ROUNDS = 5, 2
SECONDS, QUICK_SECONDS = 4.0, 2.0  # of load in a round
LONGEST = 600.0  # seconds for all to be up


class Broker(RabbitMQServer):
    """A node whose use of the machine can be told."""

    def _beam(self) -> psutil.Process:
        assert self.process is not None
        inside = [psutil.Process(self.process.pid)]
        inside += inside[0].children(recursive=True)
        return max(inside, key=lambda process: process.memory_info().rss)

    def resident(self) -> float:
        """Return the MiB that it has in memory."""
        return float(self._beam().memory_info().rss) / 2**20

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        times = self._beam().cpu_times()
        return float(times.user + times.system)


class Agents:
    """Simulated agents in a few processes; stopped when the context ends."""

    def __init__(self, installation: Installation, folder: Path, count: int) -> None:
        self.count = count
        self._logs = [folder / f"agents-{number}.log" for number in range(PROCESSES)]
        each = count // PROCESSES
        self._processes = [
            _start(installation, log, number * each, each) for number, log in enumerate(self._logs)
        ]

    def __enter__(self) -> Agents:
        """Return them; they are on their way."""
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        for process in self._processes:
            process.kill()
            process.wait(60)

    def opened(self, since: float) -> list[float]:
        """Return when their connections were made, in seconds since the epoch, in order."""
        lines = (line.split() for log in self._logs for line in log.read_text().splitlines())
        moments = (float(line[1]) for line in lines if len(line) == 2 and line[0] == "open")
        return sorted(moment for moment in moments if moment >= since)


def _start(
    installation: Installation, log: Path, first: int, count: int
) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [
                *(sys.executable, "-u", "-m", "bench.simulated_agents"),
                *(str(installation.file), str(first), str(count)),
            ],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )


def measure(*, quick: bool) -> str:
    """Return the table."""
    count = QUICK_AGENTS if quick else AGENTS
    seconds, rounds = (QUICK_SECONDS, QUICK_ROUNDS) if quick else (SECONDS, ROUNDS)
    idle = QUICK_IDLE if quick else IDLE
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labapi-bench-")))
        folder.chmod(0o755)
        broker = stack.enter_context(_broker(folder))
        lab = Installation(
            folder / "labapi",
            database=stack.enter_context(mariadb()),
            broker=broker.url,
            api__workers=2,
        )
        database = lab.database()
        for name in ("labapi-conductor", "labapi-conductor", "labapi-agent"):
            stack.enter_context(lab.program(name))
        stack.enter_context(lab.api())
        until(lambda: database.read(testcases.target, "lab-1"), what="the agent's announcement")
        alone, beside = Samples(0), Samples(0)
        _load(lab, alone, seconds, rounds)
        before, spent = broker.resident(), _spent(broker, idle)
        with Agents(lab, folder, count) as agents:
            begun = datetime.datetime.now(datetime.UTC)
            until(lambda: _heard(database, begun) > count, LONGEST, "the start of all agents")
            time.sleep(10)
            memory = (broker.resident() - before) / count
            cpu = (_spent(broker, idle) - spent) / count
            _load(lab, beside, seconds, rounds)
            half, whole, peak = _restart(broker, database, agents)
        _load(lab, alone, seconds, rounds)
        database.close()
    rows = [
        ("memory of the broker for an agent, KiB", f"{memory * 1024:.0f}"),
        ("CPU of the broker for an agent, ms in a second", f"{cpu * 1000:.2f}"),
        ("rate of cases beside them : without them", f"{beside.median / alone.median:.2f}"),
        ("half of them are connected after a restart, s", f"{half:.1f}"),
        ("all of them are up after a restart, s", f"{whole:.1f}"),
        ("connections made within one second, at most", str(peak)),
    ]
    return table((f"{count:,} agents", "value"), rows)


@contextlib.contextmanager
def _broker(folder: Path) -> Iterator[Broker]:
    broker = Broker(folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


def _load(lab: Installation, rates: Samples, seconds: float, rounds: int) -> None:
    body = json.dumps(CASE)
    for _ in range(rounds):
        done = load.run(lab.port, WAIT, clients=MANY, seconds=seconds, body=body, expect=PASSED)
        rates.add(done.rate)


def _spent(broker: Broker, seconds: float) -> float:
    """Return the seconds of CPU that the broker uses in a second of which nobody wants anything."""
    before = broker.cpu()
    time.sleep(seconds)
    return (broker.cpu() - before) / seconds


def _heard(database: Database, since: datetime.datetime) -> int:
    """Return how many hosts were heard after a moment."""
    rows = database.read(services.every, binary=services.AGENT)
    return sum(row.last_seen_at >= since for row in rows)


def _restart(broker: Broker, database: Database, agents: Agents) -> tuple[float, float, int]:
    """Kill the broker and start it again.

    :returns: seconds from the first connection that it takes until half of the agents are
        connected, and until all are heard; and how many connected within one second at the most
    """
    broker.kill()
    killed = datetime.datetime.now(datetime.UTC)
    broker.restart()
    until(
        lambda: _heard(database, killed) > agents.count,
        LONGEST,
        "the return of all agents",
    )
    heard = time.time()
    opened = agents.opened(killed.timestamp())
    seconds = Counter(int(moment - opened[0]) for moment in opened)
    return opened[agents.count // 2] - opened[0], heard - opened[0], max(seconds.values())
