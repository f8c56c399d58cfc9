"""Decisions on a host, with few and many hosts, against nova's own filters and weighers.

    python -m bench.run [--quick] scheduler

Both have the states of their hosts in memory and choose with the filters and weighers of their
defaults; what each has chosen is consumed before the next decision. Of labapi's hosts one tells new
facts before each decision, so that what is kept has to be put right. The requests:

- any: no wish
- rack: one host of fifty is in the rack that is asked for
- nobody: no host is in the rack that is asked for
- new words: a fact above a limit that one host of ten exceeds, another limit each time
- new words, nobody: the same with a limit that no host exceeds

nova has no words that it has seen before: for it the last two are like rack and nobody.
"""

from __future__ import annotations

import collections
import itertools
import json
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec

from bench.environments import programs
from bench.report import Samples, percentile, table
from labapi import config
from labapi.scheduler import driver
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.spec import Placement, RequestSpec

HOSTS = (100, 1_000, 10_000)
REQUESTS = ("any", "rack", "nobody", "new words", "new words, nobody")
SLOTS = 8
RACKS = 50
MEMORY = 65536  # MiB
RUNNING = 8  # cases that were given to hosts and have not ended
ROUNDS, QUICK_ROUNDS = 3, 1
DECISIONS, QUICK_DECISIONS = 1000, 200
NOVA_DECISIONS = {100: 50, 1_000: 20, 10_000: 5}

PLUGINS = msgspec.json.encode(
    {
        "linux_system": {
            "run_shell": {
                "description": "Run a program.",
                "schema": {
                    "type": "object",
                    "properties": {
                        "command": {"type": "string"},
                        "args": {"type": "array", "items": {"type": "string"}},
                    },
                    "required": ["command"],
                    "additionalProperties": False,
                },
            }
        }
    }
).decode()


def measure(*, quick: bool) -> str:
    """Return the tables."""
    rows, medians = [], {}
    for number, request in itertools.product(HOSTS, REQUESTS):
        ours, theirs = Samples(), Samples()
        took: list[float] = []
        nova: list[float] = []
        for _ in range(QUICK_ROUNDS if quick else ROUNDS):
            one = labapi(number, request, QUICK_DECISIONS if quick else DECISIONS)
            other = decided_by_nova(number, request, NOVA_DECISIONS[number])
            ours.add(len(one) / sum(one))
            theirs.add(len(other) / sum(other))
            took += one
            nova += other
        medians[number, request] = percentile(took, 0.5), percentile(nova, 0.5)
        rows.append(
            (
                f"{number:,} hosts, {request}",
                *(f"{percentile(took, share) * 1000:.2f}" for share in (0.5, 0.99)),
                f"{ours.median:,.0f}",
                *(f"{percentile(nova, share) * 1000:,.1f}" for share in (0.5, 0.99)),
                f"{theirs.median:,.1f}",
                f"{float(ours.over(theirs)):,.0f}",
            )
        )
    columns = ("a decision", "labapi p50 ms", "p99 ms", "a second")
    columns += ("nova p50 ms", "p99 ms", "a second", "times nova's rate")
    return f"{table(columns, rows)}\n\n{growth(medians)}"


def growth(medians: dict[tuple[int, str], tuple[float, float]]) -> str:
    """Return how a decision grows from the fewest hosts to the most."""
    few, many = HOSTS[0], HOSTS[-1]
    rows = [
        (
            request,
            *(f"{medians[many, request][at] / medians[few, request][at]:.1f}" for at in (0, 1)),
        )
        for request in REQUESTS
    ]
    return table((f"{many:,} hosts take so many times as long as {few}", "labapi", "nova"), rows)


def labapi(number: int, request: str, decisions: int) -> list[float]:
    """Return the seconds of each decision."""
    conf = config.new()
    conf([], project="labapi", default_config_files=[])
    scheduler = driver.load(conf)
    hosts = HostStates(_host(one) for one in range(1, number + 1))
    draw = random.Random(number)
    given: collections.deque[HostState] = collections.deque()
    scheduler.select(_spec(request, 0), hosts)  # what is kept is made by the first one
    took = []
    for one in range(1, decisions + 1):
        changed = hosts[draw.randint(1, number)]
        changed.facts = _facts(draw)
        hosts.update(changed)
        spec = _spec(request, one)
        begin = time.perf_counter()
        chosen = scheduler.select(spec, hosts)
        took.append(time.perf_counter() - begin)
        if bool(chosen) is request.endswith("nobody"):
            raise SystemExit(f"{request}: {chosen}")
        given.extend(chosen)
        if len(given) > RUNNING:
            hosts.release(given.popleft())
    return took


def decided_by_nova(number: int, request: str, decisions: int) -> list[float]:
    """Return the seconds of each decision of nova's."""
    python = str(programs("nova") / "python")
    script = str(Path(__file__).with_name("nova_scheduler.py"))
    case = {"new words": "rack", "new words, nobody": "nobody"}.get(request, request)
    done = subprocess.run(
        [python, script, str(number), str(decisions), case],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return list(found["took"])


def _host(one: int) -> HostState:
    draw = random.Random(one)  # the same hosts each time
    return HostState(
        id=one,
        uuid=f"uuid-{one}",
        host=f"lab-{one}",
        plugins=PLUGINS,
        slots=SLOTS,
        active=draw.randrange(SLOTS // 2),
        metadata={"rack": f"r{one % RACKS}", "model": "R740"},
        facts=_facts(draw),
    )


def _facts(draw: random.Random) -> dict[str, Any]:
    return {
        "release": "0.1.0",
        "memory_total_mib": MEMORY,
        "memory_available_mib": draw.randrange(MEMORY * 3 // 4),
        "load1": round(draw.random() * SLOTS, 2),
    }


def _spec(request: str, one: int) -> RequestSpec:
    few = MEMORY * 3 // 4 * 9 // 10 - one  # one host of ten has that much
    requires = {
        "any": (),
        "rack": ("rack=r7",),
        "nobody": ("rack=none",),
        "new words": (f"memory_available_mib >= {few}",),
        "new words, nobody": (f"memory_available_mib >= {MEMORY + one}",),
    }
    return RequestSpec(
        case=str(one),
        plugin="linux_system",
        method="run_shell",
        parameters={"command": "make", "args": ["check", str(one)]},
        project_id="p1",
        placement=Placement(requires=requires[request]),
    )
