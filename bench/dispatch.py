"""What it takes to run ``true`` somewhere else and know how it ended.

    python -m bench.run [--quick] dispatch

labapi's case comes over HTTP, is recorded, durable, and its result is committed before it is
answered (RabbitMQ, MariaDB; API, conductor and agent are programs of their own), and once more with
256 clients and 50 hosts. Celery's task is neither recorded nor confirmed; behind Flower, with a
database for results, confirms and late acknowledgements, it comes over HTTP and is. Salt's command
comes over HTTP, too. What cannot be had is left out. All are asked in turn: one at a time, then 32
under way.
"""

from __future__ import annotations

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
from bench.installation import mariadb, on_servers, rabbitmq
from bench.load import Load
from bench.processes import Server
from bench.report import Samples, percentile, table
from bench.round_trip import RoundTrip
from bench.salt import CASE as SALT_CASE
from bench.salt import DONE, Salt
from labapi.db import testcases
from tests.processes import free_port, until

MANY = 32
CROWD, HOSTS = 256, 50
ROUNDS, QUICK_ROUNDS = 7, 3
SECONDS, QUICK_SECONDS = 3.0, 1.5
START = 300.0  # seconds that all agents may take to start
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
SPREAD = f"the same, {CROWD} clients and {HOSTS} hosts"
CELERY = "Celery 5.7 task, rpc:// results"
FLOWER = "Flower: POST /api/task/apply, db+mysql"
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
    :ivar alone: it can be asked for one at a time
    :ivar tail: 99th percentile : median with many under way
    """

    name: str
    work: Work
    servers: tuple[Server, ...] = ()
    many: bool = True
    alone: bool = True
    p50: Samples = field(default_factory=lambda: Samples(1))
    p99: Samples = field(default_factory=lambda: Samples(1))
    rate: Samples = field(default_factory=lambda: Samples(0))
    cpu: Samples = field(default_factory=lambda: Samples(1))
    tail: Samples = field(default_factory=lambda: Samples(1))

    def one_at_a_time(self, seconds: float) -> None:
        """Take the times of single runs."""
        if not self.alone:
            return
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
            half = percentile(done.latencies, 0.5)
            self.tail.add(percentile(done.latencies, 0.99) / half)
            if self.servers:
                self.cpu.add((self._cpu() - before) / done.requests * 1000)

    def _cpu(self) -> float:
        return sum(server.cpu() for server in self.servers)


def measure(*, quick: bool) -> str:
    """Return the table."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labapi-bench-")))
        contenders = [
            *_labapi(stack, folder / "labapi"),
            _celery(stack, folder),
            *_flower(stack, folder),
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


def _labapi(stack: contextlib.ExitStack, folder: Path) -> list[Contender]:
    installation = on_servers(stack, folder, api__workers=2)
    database = installation.database()
    api = stack.enter_context(installation.api())
    conductor = stack.enter_context(installation.program("labapi-conductor"))
    names = [f"lab-{number}" for number in range(1, HOSTS + 1)]
    agents = [
        stack.enter_context(installation.program("labapi-agent", "--agent-host", name))
        for name in names
    ]
    known = partial(database.read, testcases.targets, names, None)
    until(lambda: len(known()) == HOSTS, START, what="the announcements of all agents")
    database.close()
    bodies = [json.dumps({**CASE, "host": name}) for name in names]

    def post(clients: int, seconds: float, body: str | list[str] = bodies[0]) -> Load:
        return load.run(
            installation.port, WAIT, clients=clients, seconds=seconds, body=body, expect=PASSED
        )

    def crowd(_clients: int, seconds: float) -> Load:
        return post(CROWD, seconds, bodies)

    return [
        Contender(LABAPI, post, (api, conductor, agents[0])),
        Contender(SPREAD, crowd, (api, conductor, *agents), alone=False),
    ]


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


def _flower(stack: contextlib.ExitStack, folder: Path) -> list[Contender]:
    """Return Celery as like to labapi as it can be; nothing, and say why, if it cannot be had."""
    port = free_port()
    env = {
        "BENCH_BROKER": stack.enter_context(rabbitmq()),
        "BENCH_BACKEND": f"db+{stack.enter_context(mariadb())}",
        "FLOWER_UNAUTHENTICATED_API": "true",
        "PYTHONPATH": str(environments.ROOT),
        "C_FORCE_ROOT": "true",
    }
    try:
        celery = [str(environments.programs("celery") / "celery"), "-A", "bench.celery_reference"]
        worker = stack.enter_context(
            Server([*celery, "worker", "-l", "INFO"], folder / "kept", env)
        )
        argv = [*celery, "flower", f"--port={port}", "--address=127.0.0.1"]
        flower = stack.enter_context(Server(argv, folder / "flower.log", env))
        worker.says("ready.")
        flower.listens(port)
    except (subprocess.CalledProcessError, AssertionError) as error:
        sys.stderr.write(f"without Flower: {str(error).splitlines()[0]}\n")
        return []

    def post(clients: int, seconds: float) -> Load:
        path, done = "/api/task/apply/true", '"state": "SUCCESS"'
        return load.run(
            port, path, clients=clients, seconds=seconds, body='{"args": []}', expect=done
        )

    return [Contender(FLOWER, post, (worker, flower))]


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
    by_name = {contender.name: contender for contender in contenders}
    labapi, celery = by_name[LABAPI], by_name[CELERY]
    flower = by_name.get(FLOWER, Contender(FLOWER, celery.work))
    rows = [
        (
            c.name,
            c.p50,
            c.p99,
            c.rate,
            c.tail,
            c.cpu,
            c.p50.over(labapi.p50),
            c.p50.over(celery.p50),
            c.p50.over(flower.p50),
            c.rate.over(labapi.rate),
            c.rate.over(celery.rate),
            c.rate.over(flower.rate),
        )
        for c in contenders
    ]
    columns = ("run `true`", "p50 ms, one at a time", "p99 ms", f"per second, {MANY} under way")
    columns += ("p99 : p50 then", "CPU ms each", "p50 : labapi", "p50 : Celery", "p50 : Flower")
    columns += ("rate : labapi", "rate : Celery", "rate : Flower")
    return table(columns, rows)
