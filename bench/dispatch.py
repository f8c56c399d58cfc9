"""What it takes to run ``true`` somewhere else and know how it ended.

    python -m bench.dispatch [--quick]

labapi's case comes over HTTP, is recorded, durable, and its result is committed before it is
answered (RabbitMQ, MariaDB; API, conductor and agent are programs of their own). Celery's task is
neither recorded nor confirmed. Salt's command comes over HTTP, too; where Salt cannot be had, the
table is without it. All are asked in turn: one at a time, then 32 under way.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import environments, load
from bench.installation import Installation, mariadb, rabbitmq
from bench.load import Load
from bench.processes import Server
from bench.report import Samples, percentile, table
from bench.round_trip import RoundTrip
from bench.salt import CASE as SALT_CASE
from bench.salt import DONE, Salt
from labapi.db import testcases
from tests.processes import until

MANY = 32
ROUNDS, QUICK_ROUNDS = 7, 3
SECONDS, QUICK_SECONDS = 3.0, 1.5
FEWEST = 50  # of which to tell a 99th percentile from the largest
WAIT = "/v2.1/testcases?wait=30"
CASE = {
    "plugin": "linux_system",
    "host": "lab-1",
    "method": "run_shell",
    "parameters": {"command": "true"},
}
PASSED = '"result":"PASS"'

LABAPI = "labapi: POST /v2.1/testcases?wait=30"
CELERY = "Celery 5.7 task, rpc:// results"
SALT = "Salt 3008 salt-api, cmd.run_all"
ROUND_TRIP = "kombu round trip, no confirms"
PROCESS = "subprocess.run alone"

Work = Callable[[int, float], Load]


@dataclass
class Contender:
    """A way to run ``true``.

    :ivar work: runs it for some seconds with so many under way
    :ivar servers: whose CPU is counted
    :ivar many: it can have several under way
    """

    name: str
    work: Work
    servers: tuple[Server, ...] = ()
    many: bool = True
    p50: Samples = field(default_factory=lambda: Samples(1))
    p99: Samples = field(default_factory=lambda: Samples(1))
    rate: Samples = field(default_factory=lambda: Samples(0))
    cpu: Samples = field(default_factory=lambda: Samples(1))

    def one_at_a_time(self, seconds: float) -> None:
        """Take the times of single runs."""
        done = self.work(1, seconds)
        self.p50.add(percentile(done.latencies, 0.5))
        if len(done.latencies) >= FEWEST:
            self.p99.add(percentile(done.latencies, 0.99))

    def many_at_once(self, seconds: float) -> None:
        """Count how many end in some seconds, and what the servers spend on each."""
        if self.many:
            before = self._cpu()
            done = self.work(MANY, seconds)
            self.rate.add(done.rate)
            if self.servers:
                self.cpu.add((self._cpu() - before) / done.requests * 1000)

    def _cpu(self) -> float:
        return sum(server.cpu() for server in self.servers)


def measure(*, quick: bool) -> str:
    """Return the table."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labapi-bench-")))
        contenders = [
            _labapi(stack, folder / "labapi"),
            _celery(stack, folder),
            *_salt(stack, folder / "salt"),
            _round_trip(stack, folder),
            Contender(PROCESS, _processes, many=False),
        ]
        seconds = QUICK_SECONDS if quick else SECONDS
        for contender in contenders:
            contender.work(MANY, 2.0)  # connections are made, code is compiled
        for number in range(QUICK_ROUNDS if quick else ROUNDS):
            turn = contenders if number % 2 else contenders[::-1]
            for contender in turn:
                contender.one_at_a_time(seconds)
            for contender in turn:
                contender.many_at_once(seconds)
    return _table(contenders)


def _labapi(stack: contextlib.ExitStack, folder: Path) -> Contender:
    installation = Installation(
        folder,
        database=stack.enter_context(mariadb()),
        broker=stack.enter_context(rabbitmq()),
        api__workers=2,
    )
    database = installation.database()
    programs = tuple(
        stack.enter_context(installation.program(name))
        for name in ("labapi-conductor", "labapi-agent")
    )
    api = stack.enter_context(installation.api())
    until(lambda: database.read(testcases.target, "lab-1"), what="the agent's announcement")
    database.close()

    def post(clients: int, seconds: float) -> Load:
        body = json.dumps(CASE)
        return load.run(
            installation.port, WAIT, clients=clients, seconds=seconds, body=body, expect=PASSED
        )

    return Contender(LABAPI, post, (api, *programs))


def _celery(stack: contextlib.ExitStack, folder: Path) -> Contender:
    programs = environments.programs("celery")
    env = {
        "BENCH_BROKER": stack.enter_context(rabbitmq()),
        "PYTHONPATH": str(environments.ROOT),
        "C_FORCE_ROOT": "true",  # be silent about being root
    }
    argv = [str(programs / "celery"), "-A", "bench.celery_reference", "worker", "-l", "INFO"]
    worker = stack.enter_context(Server(argv, folder / "celery.log", env)).says("ready.")

    def call(window: int, seconds: float) -> Load:
        argv = [str(programs / "python"), "-m", "bench.celery_reference"]
        done = subprocess.run(
            [*argv, str(window), str(seconds)],
            env=env,
            capture_output=True,
            text=True,
            timeout=seconds + 120,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"Celery's caller: {done.stderr[-1000:]}")
        return Load(**json.loads(done.stdout))

    return Contender(CELERY, call, (worker,))


def _salt(stack: contextlib.ExitStack, folder: Path) -> list[Contender]:
    """Return Salt; nothing, and say why, if it cannot be had."""
    try:
        salt = Salt(folder)
        servers = stack.enter_context(salt.running())
    except (subprocess.CalledProcessError, RuntimeError) as error:
        sys.stderr.write(f"without Salt: {str(error).splitlines()[0]}\n")
        return []

    def post(clients: int, seconds: float) -> Load:
        return load.run(
            salt.port,
            "/",
            clients=clients,
            seconds=seconds,
            headers=(f"X-Auth-Token: {salt.token}",),
            body=json.dumps(SALT_CASE),
            expect=DONE,
        )

    return [Contender(SALT, post, servers)]


def _round_trip(stack: contextlib.ExitStack, folder: Path) -> Contender:
    url = stack.enter_context(rabbitmq())
    argv = [sys.executable, "-m", "bench.round_trip", "echo", url]
    env = {"PYTHONPATH": str(environments.ROOT)}
    stack.enter_context(Server(argv, folder / "echo.log", env)).says("echoes")
    there_and_back = stack.enter_context(RoundTrip(url))
    return Contender(ROUND_TRIP, partial(_one_by_one, there_and_back.run), many=False)


def _processes(_window: int, seconds: float) -> Load:
    return _one_by_one(_run_true, _window, seconds)


def _run_true(seconds: float) -> list[float]:
    took = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        subprocess.run(["true"], check=True)
        took.append((time.perf_counter() - begin) * 1000)
    return took


def _one_by_one(run: Callable[[float], list[float]], _window: int, seconds: float) -> Load:
    begin, cpu = time.perf_counter(), time.process_time()
    took = run(min(seconds, 1.0))
    return Load(len(took), time.perf_counter() - begin, time.process_time() - cpu, took)


def _table(contenders: list[Contender]) -> str:
    labapi, celery = (next(c for c in contenders if c.name == name) for name in (LABAPI, CELERY))
    rows = [
        (
            c.name,
            c.p50,
            c.p99,
            c.rate,
            c.cpu,
            c.p50.over(labapi.p50),
            c.p50.over(celery.p50),
            c.rate.over(celery.rate),
        )
        for c in contenders
    ]
    columns = ("run `true`", "p50 ms, one at a time", "p99 ms", f"per second, {MANY} under way")
    columns += ("CPU ms each", "p50 : labapi", "p50 : Celery", "rate : Celery")
    return table(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    print(measure(quick=parser.parse_args().quick))


if __name__ == "__main__":
    main()
