"""Whether a request and a case cost the same in a small lab and in a large one.

    python -m bench.run [--quick] growth

Two installations on MariaDB are asked in turn: 10 hosts and 1,000 stored cases, 10,000 hosts and
1,000,000 cases. Then the plans of the statements on the way of every case, on MariaDB and SQLite;
the run fails if one of them looks at a whole table.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench import plans
from bench.installation import Installation, add_hosts, host_uuid, on_servers
from bench.report import Samples, percentile, table
from bench.stored import add_cases
from labapi.db import testcases
from tests.processes import until

SMALL, LARGE, QUICK_LARGE = (10, 1_000), (10_000, 1_000_000), (1_000, 100_000)
ROUNDS, QUICK_ROUNDS = 200, 60
WARM_UP = 20
TIMEOUT = 60.0  # seconds

CASE = {
    "plugin": "linux_system",
    "host": "lab-1",
    "method": "run_shell",
    "parameters": {"command": "true"},
}


@dataclass
class Size:
    """One installation with so much in it.

    :ivar took: milliseconds for each kind of request
    """

    hosts: int
    cases: int
    port: int
    paths: dict[str, str]
    took: dict[str, Samples] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Open a connection."""
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)

    def ask(self, *, count: bool = True) -> None:
        """Send one request of each kind."""
        for what, path in self.paths.items():
            body = json.dumps(CASE) if what.startswith("run") else None
            begin = time.perf_counter()
            self._connection.request(
                "POST" if body else "GET", path, body, {"Content-Type": "application/json"}
            )
            answer = self._connection.getresponse()
            text = answer.read()
            took = (time.perf_counter() - begin) * 1000
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer.status} {text[:300]!r}")
            if count:
                self.took.setdefault(what, Samples(1)).add(took)


def measure(*, quick: bool) -> str:
    """Return the tables.

    :raises RuntimeError: a statement looks at a whole table
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labapi-bench-")))
        sizes = SMALL, QUICK_LARGE if quick else LARGE
        installations = [
            _filled(stack, folder / f"{hosts}-hosts", hosts, cases) for hosts, cases in sizes
        ]
        small, large = (
            _started(stack, installation, *size)
            for installation, size in zip(installations, sizes, strict=True)
        )
        for number in range(WARM_UP + (QUICK_ROUNDS if quick else ROUNDS)):
            for size in (small, large) if number % 2 else (large, small):
                size.ask(count=number >= WARM_UP)
        on_mariadb = plans.shown(installations[1].database())
        embedded = Installation(folder / "embedded", database=None, broker="memory://").database()
        add_hosts(embedded, 1, SMALL[0])
        add_cases(embedded, 20 * SMALL[1], SMALL[0])
        return "\n\n".join((_table(small, large), on_mariadb, plans.shown(embedded)))


def _filled(stack: contextlib.ExitStack, folder: Path, hosts: int, cases: int) -> Installation:
    """Return an installation on MariaDB with so much in it."""
    installation = on_servers(stack, folder)
    database = installation.database()
    add_hosts(database, 1, hosts)
    add_cases(database, cases, hosts)
    # What the server does by itself, sooner or later.
    database.read(lambda c: c.exec_driver_sql("ANALYZE TABLE hosts, services, testcases").all())
    database.close()
    return installation


def _started(
    stack: contextlib.ExitStack, installation: Installation, hosts: int, cases: int
) -> Size:
    """Start its programs and return what can be asked."""
    for name in ("labapi-conductor", "labapi-agent"):
        stack.enter_context(installation.program(name))
    stack.enter_context(installation.api())
    database = installation.database()
    until(lambda: database.read(testcases.target, "lab-1"), what="the agent's announcement")
    host = host_uuid(database, f"bench-{hosts // 2}")
    (case,), _ = database.read(
        testcases.page, {"project_id": "noauth"}, since=None, before=None, limit=1
    )
    database.close()
    paths = {
        "one host": f"/v2.1/slaves/{host}",
        "5 hosts from the middle on": f"/v2.1/slaves/detail?limit=5&marker={hosts // 2}",
        "one case": f"/v2.1/testcases/{case.uuid}",
        "the newest 20 cases": "/v2.1/testcases?limit=20",
        "the newest 20 of a host": f"/v2.1/testcases?limit=20&host=bench-{hosts // 2}",
        "the newest 20 that failed": "/v2.1/testcases?limit=20&result=FAIL",
        "the newest 20 since yesterday": f"/v2.1/testcases?limit=20&since={_yesterday()}",
        "run a case": "/v2.1/testcases?wait=30",
    }
    return Size(hosts, cases, installation.port, paths)


def _yesterday() -> str:
    now = datetime.datetime.now(datetime.UTC)
    return (now - datetime.timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _table(small: Size, large: Size) -> str:
    heads = [f"{size.hosts:,} hosts, {size.cases:,} cases" for size in (small, large)]
    rows = [
        (what, *(_middle(size.took[what]) for size in (small, large)), _ratio(small, large, what))
        for what in small.took
    ]
    return table(("median ms (10th to 90th percentile)", *heads, "large : small"), rows)


def _middle(samples: Samples) -> str:
    low, high = (percentile(samples.values, share) for share in (0.1, 0.9))
    return f"{samples.median:.1f} ({low:.1f} to {high:.1f})"


def _ratio(small: Size, large: Size, what: str) -> str:
    return f"{large.took[what].median / small.took[what].median:.2f}"
