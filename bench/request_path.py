"""What a request for one host costs, through the whole pipeline and without it, and elsewhere.

    python -m bench.run [--quick] request-path

``GET /v2.1/slaves/{id}``, one process each, 16 kept-alive connections, and 64 for how long answers
take. All servers run at the same time and are asked in turn; a ratio is the median of the rounds'
ratios. The database is SQLite, as
placement's is.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import environments, load, uwsgi
from bench.installation import Installation, add_hosts, host_uuid, rabbitmq
from bench.placement import HEADERS, Placement
from bench.processes import Server
from bench.report import Samples, percentile, table
from tests.programs import free_port

APPLICATION = "labapi.wsgi:application"
CLIENTS = 16
MANY_CLIENTS = 64
HOSTS = 100
ROUNDS, QUICK_ROUNDS = 7, 3
SECONDS, QUICK_SECONDS = 2.0, 0.7

PIPELINE = "whole pipeline, labapi-api (eventlet)"
CONTROLLER = "the controller alone, labapi-api"
HELLO = "hello, eventlet.wsgi"
GRANIAN = "whole pipeline, granian, one thread"
UWSGI = "whole pipeline, uWSGI, one thread"
PLACEMENT = "placement, uWSGI, one thread"


@dataclass
class Times:
    """Milliseconds that answers take, where a number of clients asks."""

    mean: Samples = field(default_factory=lambda: Samples(1))
    p95: Samples = field(default_factory=lambda: Samples(1))
    p99: Samples = field(default_factory=lambda: Samples(1))

    def add(self, latencies: Sequence[float]) -> None:
        """Add a round."""
        self.mean.add(statistics.mean(latencies))
        self.p95.add(percentile(latencies, 0.95))
        self.p99.add(percentile(latencies, 0.99))


@dataclass
class Contender:
    """A server that is asked.

    :ivar cpu: microseconds of the server's CPU for each request
    :ivar rate: requests per second
    :ivar median: milliseconds that an answer takes
    :ivar sender: share of a processor that sending took, in percent
    :ivar times: by the number of clients
    """

    name: str
    server: Server
    port: int
    path: str
    headers: tuple[str, ...] = ()
    cpu: Samples = field(default_factory=lambda: Samples(0))
    rate: Samples = field(default_factory=lambda: Samples(0))
    median: Samples = field(default_factory=lambda: Samples(1))
    sender: Samples = field(default_factory=lambda: Samples(0))
    times: dict[int, Times] = field(
        default_factory=lambda: {CLIENTS: Times(), MANY_CLIENTS: Times()}
    )

    def ask(self, seconds: float, *, count: bool = True) -> None:
        """Send requests for some seconds."""
        before = self.server.cpu()
        done = self._load(CLIENTS, seconds)
        if count:
            self.cpu.add((self.server.cpu() - before) / done.requests * 1e6)
            self.rate.add(done.rate)
            self.median.add(Samples(1, done.latencies).median)
            self.sender.add(done.cpu / done.seconds * 100)
            self.times[CLIENTS].add(done.latencies)
            self.times[MANY_CLIENTS].add(self._load(MANY_CLIENTS, seconds).latencies)

    def _load(self, clients: int, seconds: float) -> load.Load:
        return load.run(
            self.port, self.path, clients=clients, seconds=seconds, headers=self.headers
        )


def measure(*, quick: bool) -> str:
    """Return the table."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labapi-bench-")))
        broker = stack.enter_context(rabbitmq())
        contenders = list(_contenders(stack, folder, broker))
        for contender in contenders:
            contender.ask(0.5, count=False)
        for number in range(QUICK_ROUNDS if quick else ROUNDS):
            # The order changes, so that nobody always comes after the same neighbour.
            turn = contenders if number % 2 else contenders[::-1]
            for contender in turn:
                contender.ask(QUICK_SECONDS if quick else SECONDS)
    return _table(contenders)


def _contenders(stack: contextlib.ExitStack, folder: Path, broker: str) -> Sequence[Contender]:
    whole = Installation(folder / "whole", database=None, broker=broker)
    database = whole.database()
    add_hosts(database, 1, HOSTS)
    path = f"/v2.1/slaves/{host_uuid(database, f'bench-{HOSTS // 2}')}"
    database.close()
    url = f"sqlite:///{whole.folder}/state/labapi.sqlite"
    bare = Installation(folder / "bare", database=url, broker=broker, bare=True)
    placement = Placement(folder / "placement")
    served = stack.enter_context(placement.start())
    provider = placement.add_providers(1, HOSTS)
    hello = free_port()
    return [
        Contender(PIPELINE, stack.enter_context(whole.api()), whole.port, path),
        Contender(
            CONTROLLER, stack.enter_context(bare.api()), bare.port, path.removeprefix("/v2.1")
        ),
        Contender(HELLO, stack.enter_context(_hello(folder, hello)), hello, "/"),
        *_other_servers(stack, whole, path),
        Contender(PLACEMENT, served, placement.port, f"/resource_providers/{provider}", HEADERS),
    ]


def _hello(folder: Path, port: int) -> Server:
    argv = [sys.executable, "-m", "bench.hello", str(port)]
    env = {"PYTHONPATH": str(environments.ROOT)}
    return Server(argv, folder / "hello.log", env).listens(port)


def _other_servers(
    stack: contextlib.ExitStack, whole: Installation, path: str
) -> Sequence[Contender]:
    """Start the same application under other servers, each as its documentation has it."""
    programs = environments.programs("servers")
    granian, under_uwsgi = free_port(), free_port()
    started = [
        (
            GRANIAN,
            granian,
            [
                *(str(programs / "granian"), "--interface", "wsgi", "--port", str(granian)),
                # By itself it starts threads as requests wait, and they take turns all the time.
                *("--workers", "1", "--blocking-threads", "1"),
                *("--no-access-log", APPLICATION),
            ],
        ),
        (
            UWSGI,
            under_uwsgi,
            uwsgi.command(programs, under_uwsgi, APPLICATION),
        ),
    ]
    found = []
    for name, port, argv in started:
        log = whole.folder / f"{Path(argv[0]).name}.log"
        server = stack.enter_context(Server(argv, log, whole.environment()))
        found.append(Contender(name, server.listens(port), port, path))
    return found


def _table(contenders: Sequence[Contender]) -> str:
    of = {contender.name: contender for contender in contenders}
    rows = [
        (
            c.name,
            c.cpu,
            c.rate,
            c.median,
            c.cpu.over(of[CONTROLLER].cpu),
            c.rate.over(of[PLACEMENT].rate),
            c.sender,
        )
        for c in contenders
    ]
    columns = ("GET of one host", "CPU µs/request", "requests/s", "median ms")
    columns += ("CPU : controller", "rate : placement", "sender's CPU %")
    return f"{table(columns, rows)}\n\n{_table_of_times(contenders)}"


def _table_of_times(contenders: Sequence[Contender]) -> str:
    rows = [
        (c.name, *(str(cell) for t in c.times.values() for cell in (*_cells(t), _spread(t))))
        for c in contenders
    ]
    columns = ["ms until the answer"]
    for clients in (CLIENTS, MANY_CLIENTS):
        columns += [f"mean, {clients} clients", "p95", "p99", "p99 : mean"]
    return table(columns, rows)


def _cells(times: Times) -> Sequence[str]:
    return [f"{value.median:,.1f}" for value in (times.mean, times.p95, times.p99)]


def _spread(times: Times) -> str:
    return times.p99.over(times.mean)
