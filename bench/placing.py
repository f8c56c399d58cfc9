"""What it costs not to say where: ``true`` on a named host, and on any of 10,000 that can.

    python -m bench.placing [--quick]

API, conductor, agent, RabbitMQ and MariaDB, one case at a time over HTTP, in turn. Of the hosts in
the table one has an agent; the others offer other methods, and are down soon after the beginning.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from pathlib import Path

from bench import load
from bench.installation import add_hosts, on_servers
from bench.report import Samples, percentile, table
from labapi.db import testcases
from tests.processes import until

HOSTS = 10_000
ROUNDS, QUICK_ROUNDS = 9, 4
SECONDS, QUICK_SECONDS = 3.0, 2.0
WAIT = "/v2.1/testcases?wait=30"
CASE = {"plugin": "linux_system", "method": "run_shell", "parameters": {"command": "true"}}
NAMED, UNPLACED = "a case that names its host", "a case that names none"
BODIES = {NAMED: {**CASE, "host": "lab-1"}, UNPLACED: CASE}


def measure(*, quick: bool) -> str:
    """Return the table."""
    p50 = {name: Samples(2) for name in BODIES}
    mean = {name: Samples(2) for name in BODIES}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labapi-bench-")))
        installation = on_servers(stack, folder / "labapi")
        database = installation.database()
        add_hosts(database, 1, HOSTS)
        for name in ("labapi-conductor", "labapi-agent"):
            stack.enter_context(installation.program(name))
        stack.enter_context(installation.api())
        until(lambda: database.read(testcases.target, "lab-1"), what="the agent's announcement")
        database.close()

        def run(name: str, seconds: float) -> list[float]:
            body = json.dumps(BODIES[name])
            options = {"clients": 1, "body": body, "expect": '"result":"PASS"'}
            return load.run(installation.port, WAIT, seconds=seconds, **options).latencies

        for name in BODIES:
            run(name, 2.0)  # connections are made, hosts are read
        for number in range(QUICK_ROUNDS if quick else ROUNDS):
            for name in (NAMED, UNPLACED) if number % 2 else (UNPLACED, NAMED):
                took = run(name, QUICK_SECONDS if quick else SECONDS)
                p50[name].add(percentile(took, 0.5))
                mean[name].add(sum(took) / len(took))
    rows = [
        (name, p50[name], mean[name], p50[name].over(p50[NAMED]), mean[name].over(mean[NAMED]))
        for name in BODIES
    ]
    columns = (
        f"{HOSTS:,} hosts, one at a time",
        "p50 ms",
        "mean ms",
        "p50 : named",
        "mean : named",
    )
    return table(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    print(measure(quick=parser.parse_args().quick))


if __name__ == "__main__":
    main()
