"""What the programs cost while there is nothing to do, and how long they take to start.

python -m bench.run [--quick] idle
"""

from __future__ import annotations

import contextlib
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil

from bench.installation import Installation, on_servers
from bench.processes import Server
from bench.report import table
from labapi.db import testcases

SETTLE = 3.0  # seconds before counting, for what is done once
SECONDS, QUICK_SECONDS = 20.0, 6.0


def measure(*, quick: bool) -> str:
    """Return the table."""
    seconds = QUICK_SECONDS if quick else SECONDS
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labapi-bench-")))
        installation = on_servers(stack, folder, api__workers=2)
        database = installation.database()
        url = f"http://127.0.0.1:{installation.port}/v2.1/"
        api, answered = _started(stack, installation, "labapi-api", lambda _: _answers(url))
        conductor, works = _started(
            stack, installation, "labapi-conductor", lambda server: "started" in server.output()
        )
        agent, announced = _started(
            stack,
            installation,
            "labapi-agent",
            lambda _: bool(database.read(testcases.target, "lab-1")),
        )
        database.close()
        parent, *workers = api.pids()
        found = {
            "API, one worker": (workers[0], answered),
            "API, parent of the workers": (parent, answered),
            "conductor": (conductor.pids()[0], works),
            "agent": (agent.pids()[0], announced),
        }
        time.sleep(SETTLE)
        begin, before = time.perf_counter(), {pid: _cpu(pid) for pid, _ in found.values()}
        time.sleep(seconds)
        elapsed = time.perf_counter() - begin
        rows = [
            (
                name,
                f"{psutil.Process(pid).memory_info().rss / 2**20:.1f}",
                f"{psutil.Process(pid).memory_full_info().uss / 2**20:.1f}",
                f"{(_cpu(pid) - before[pid]) / elapsed * 100:.2f}",
                f"{start:.2f}",
            )
            for name, (pid, start) in found.items()
        ]
    columns = ("idle", "resident MiB", "of its own MiB", "CPU %", "s to the first answer")
    return table(columns, rows)


def _started(
    stack: contextlib.ExitStack,
    installation: Installation,
    name: str,
    ready: Callable[[Server], bool],
) -> tuple[Server, float]:
    """Start a program; return it and the seconds until it was ready."""
    begin = time.perf_counter()
    server = stack.enter_context(installation.program(name))
    server.until(lambda: ready(server), what=f"the start of {name}")
    return server, time.perf_counter() - begin


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
        return True
    return False


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
