"""What it takes to run ``true`` many times in one order.

    python -m bench.run [--quick] plan

A plan of entries that all run at once, beside as many POSTs of cases (32 under way), and Celery's
group and chord of as many tasks; a plan whose entries run one after the other, beside POSTs one at
a time and Celery's chain. All on one host, in turn. A plan takes from its POST to its last commit,
as its row says; Celery's results are in Redis, which a chord needs. Then, how long a plan of 10,000
entries takes to be accepted.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench import environments, load
from bench.dispatch import CASE, MANY, PASSED, WAIT
from bench.installation import on_servers, rabbitmq
from bench.processes import Server
from bench.report import Samples, table
from labapi.db import testcases
from labapi_client import connect
from labapi_client.lab import Lab
from tests.middleware.servers import redis
from tests.processes import until

PARALLEL, QUICK_PARALLEL = 1000, 200
SERIAL, QUICK_SERIAL = 200, 40
LARGE = 10_000  # entries of a plan that is accepted, and cancelled then
ROUNDS, QUICK_ROUNDS = 5, 2
TIMEOUT = 600.0  # seconds for one run
CALLER = ("-m", "bench.celery_reference")

POSTS = "labapi: POSTs of cases"
CELERY = "Celery 5.7: group"


@dataclass
class Contender:
    """A way to run ``true`` so many times.

    :ivar work: runs it, and returns the seconds that it took
    """

    name: str
    work: Callable[[int], float]
    rate: Samples = field(default_factory=lambda: Samples(0))
    each: Samples = field(default_factory=lambda: Samples(2))

    def run(self, count: int) -> None:
        """Take the time of one run."""
        took = self.work(count)
        self.rate.add(count / took)
        self.each.add(took / count * 1000)


def plan(step: str, count: int) -> dict[str, Any]:
    """Return a plan of one step.

    :param step: ``Parallel-Step-1`` or ``Serial-Step-1``
    """
    entries = {str(number): CASE for number in range(1, count + 1)}
    return {"name": f"{count} times true", "testplan": {"1": {step: entries}}}


def measure(*, quick: bool) -> str:
    """Return the tables."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labapi-bench-")))
        lab, port = _labapi(stack, folder / "labapi")
        call = _celery(stack, folder)
        parallel = [
            Contender("labapi: a plan", partial(_plan, lab, "Parallel-Step-1")),
            Contender(POSTS, partial(_posts, port, MANY)),
            Contender(CELERY, partial(call, "group")),
            Contender("Celery 5.7: chord", partial(call, "chord")),
        ]
        serial = [
            Contender("labapi: a plan", partial(_plan, lab, "Serial-Step-1")),
            Contender(POSTS, partial(_posts, port, 1)),
            Contender("Celery 5.7: chain", partial(call, "chain")),
        ]
        for contender in (*parallel, *serial):
            contender.work(20)  # connections are made, code is compiled
        many, few = (QUICK_PARALLEL, QUICK_SERIAL) if quick else (PARALLEL, SERIAL)
        for number in range(QUICK_ROUNDS if quick else ROUNDS):
            for contenders, count in ((parallel, many), (serial, few)):
                for contender in contenders if number % 2 else contenders[::-1]:
                    contender.run(count)
        accepted = Samples(2)
        for _ in range(QUICK_ROUNDS if quick else ROUNDS):
            accepted.add(_accepted(lab))
    return "\n\n".join(
        [
            _table(f"`true` {many} times, together", parallel),
            _table(f"`true` {few} times, one after the other", serial),
            table((f"a plan of {LARGE:,} entries", "s"), [("POST to 202", accepted)]),
        ]
    )


def _labapi(stack: contextlib.ExitStack, folder: Path) -> tuple[Lab, int]:
    installation = on_servers(stack, folder, api__workers=2)
    database = installation.database()
    for name in ("labapi-conductor", "labapi-agent"):
        stack.enter_context(installation.program(name))
    stack.enter_context(installation.api())
    until(lambda: database.read(testcases.target, "lab-1"), what="the agent's announcement")
    database.close()
    lab = stack.enter_context(connect(f"http://127.0.0.1:{installation.port}", timeout=TIMEOUT))
    return lab, installation.port


def _plan(lab: Lab, step: str, count: int) -> float:
    made = lab.plans.create(plan(step, count))
    ended = lab.plans.wait(made.id, timeout=TIMEOUT)
    if ended.result != "PASS" or ended.created_at is None or ended.finished_at is None:
        raise RuntimeError(f"the plan ended as {ended.result}: {ended.counts}")
    return (ended.finished_at - ended.created_at).total_seconds()


def _posts(port: int, clients: int, count: int) -> float:
    body = json.dumps(CASE)
    return load.run(
        *(port, WAIT), clients=clients, seconds=TIMEOUT, most=count, body=body, expect=PASSED
    ).seconds


def _accepted(lab: Lab) -> float:
    document = plan("Serial-Step-1", LARGE)
    begin = time.perf_counter()
    made = lab.plans.create(document)
    took = time.perf_counter() - begin
    lab.plans.cancel(made.id)
    lab.plans.wait(made.id, timeout=TIMEOUT)
    return took


def _celery(stack: contextlib.ExitStack, folder: Path) -> Callable[[str, int], float]:
    programs = environments.programs("celery")
    _, port = stack.enter_context(redis())
    env = {
        "BENCH_BROKER": stack.enter_context(rabbitmq()),
        "BENCH_RESULTS": f"redis://127.0.0.1:{port}/0",
        "PYTHONPATH": str(environments.ROOT),
        "C_FORCE_ROOT": "true",  # be silent about being root
    }
    argv = [str(programs / "celery"), "-A", "bench.celery_reference", "worker", "-l", "INFO"]
    stack.enter_context(Server(argv, folder / "celery.log", env)).says("ready.")

    def call(kind: str, count: int) -> float:
        done = subprocess.run(
            [str(programs / "python"), *CALLER, kind, str(count)],
            env=env,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"Celery's caller: {done.stderr[-1000:]}")
        return float(done.stdout)

    return call


def _table(what: str, contenders: list[Contender]) -> str:
    posts = next(c for c in contenders if c.name == POSTS)
    celery = next(c for c in contenders if c.name.startswith("Celery"))
    rows = [
        (c.name, c.rate, c.each, c.rate.over(posts.rate), c.rate.over(celery.rate))
        for c in contenders
    ]
    columns = (what, "per second", "ms each", "rate : POSTs", f"rate : {celery.name}")
    return table(columns, rows)
