"""What a list of many hosts costs: time, time to the first byte, memory.

    python -m bench.run [--quick] list

``GET /v2.1/slaves/detail`` in one page, two plugins of five methods for each host; placement lists
as many resource providers, of which it has less to say. Both are asked in turn, over SQLite.
"""

from __future__ import annotations

import contextlib
import http.client
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.installation import Installation, add_hosts, rabbitmq
from bench.placement import HEADERS, Placement
from bench.processes import Server
from bench.report import Samples, table

SIZES, QUICK_SIZES = (100, 1_000, 10_000), (100, 1_000)
ROUNDS, QUICK_ROUNDS = 5, 3
TIMEOUT = 120.0  # seconds
READ = 65536  # bytes


@dataclass
class Listing:
    """One server's list at one size.

    :ivar first: milliseconds to the first byte of the body
    :ivar last: milliseconds to the last one
    :ivar peak: largest MiB of memory in use meanwhile
    """

    name: str
    size: int
    server: Server
    port: int
    path: str
    headers: tuple[str, ...] = ()
    first: Samples = field(default_factory=lambda: Samples(1))
    last: Samples = field(default_factory=lambda: Samples(0))
    each: Samples = field(default_factory=lambda: Samples(0))
    peak: Samples = field(default_factory=lambda: Samples(0))
    length: int = 0

    def ask(self, *, count: bool = True) -> None:
        """Fetch the list once."""
        _forget_peak(self.server)
        headers = dict(header.split(": ", 1) for header in self.headers)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        begin = time.perf_counter()
        connection.request("GET", self.path, headers=headers)
        answer = connection.getresponse()
        self.length = len(answer.read(1))
        first = time.perf_counter()
        while piece := answer.read(READ):
            self.length += len(piece)
        last = time.perf_counter()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{self.name}: {answer.status}")
        if count:
            self.first.add((first - begin) * 1000)
            self.last.add((last - begin) * 1000)
            self.each.add((last - begin) * 1e6 / self.size)
            self.peak.add(self.server.peak())


def measure(*, quick: bool) -> str:
    """Return the table."""
    rows: list[tuple[object, ...]] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labapi-bench-")))
        broker = stack.enter_context(rabbitmq())
        for mine, other in _listings(stack, folder, broker, QUICK_SIZES if quick else SIZES):
            mine.ask(count=False)
            other.ask(count=False)
            for _ in range(QUICK_ROUNDS if quick else ROUNDS):
                mine.ask()
                other.ask()
            rows += [_row(mine, other), _row(other, other)]
    columns = ("list", "hosts", "MB", "first byte ms", "last byte ms", "µs/host", "peak MiB")
    return table((*columns, "time : placement"), rows)


def _listings(
    stack: contextlib.ExitStack, folder: Path, broker: str, sizes: tuple[int, ...]
) -> Iterator[tuple[Listing, Listing]]:
    """Yield both lists, size by size."""
    installation = Installation(
        folder / "labapi", database=None, broker=broker, api__max_limit=sizes[-1]
    )
    placement = Placement(folder / "placement")
    database = installation.database()
    there = 0
    api = served = None
    for size in sizes:
        add_hosts(database, there + 1, size)
        placement.add_providers(there + 1, size)
        there = size
        api = api or stack.enter_context(installation.api())
        served = served or stack.enter_context(placement.start())
        yield (
            Listing("labapi", size, api, installation.port, "/v2.1/slaves/detail"),
            Listing("placement", size, served, placement.port, "/resource_providers", HEADERS),
        )


def _row(listing: Listing, reference: Listing) -> tuple[object, ...]:
    return (
        listing.name,
        f"{listing.size:,}",
        f"{listing.length / 1e6:.2f}",
        listing.first,
        listing.last,
        listing.each,
        listing.peak,
        listing.last.over(reference.last),
    )


def _forget_peak(server: Server) -> None:
    for pid in server.pids():
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): resets VmHWM
