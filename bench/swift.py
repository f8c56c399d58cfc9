"""What the allow-list costs in a Swift proxy: one request at a time, with and without it.

Two proxies of one cluster are asked in turn, over kept-alive connections. Printed are the medians
in milliseconds and the ratio of the medians, with the interval that holds 95 % of the ratios of
resampled runs (bootstrap).

    python bench/swift.py [SAMPLES]
"""

from __future__ import annotations

import http.client
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the cluster is that of the tests

from tests.integration.swift.cluster import SAMPLE, Cluster
from tests.integration.swift.lab import ACCOUNT, Lab, Tokens
from tests.integration.swift.page import documented

SAMPLES = 1500
WARM_UP = 50
RESAMPLED = 1000
PAYLOAD = b"x" * 1024
REQUESTS = {
    "GET 1 KiB": ("GET", f"{ACCOUNT}/bench/object", 200),
    "HEAD container": ("HEAD", f"{ACCOUNT}/bench", 204),
}


class Client:
    """One kept-alive connection to a proxy."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._headers = headers

    def ask(self, method: str, path: str, status: int) -> float:
        """Return the milliseconds from the request to the last byte of the answer."""
        start = time.perf_counter()
        self._connection.request(method, path, headers=self._headers)
        answer = self._connection.getresponse()
        answer.read()
        took = (time.perf_counter() - start) * 1000
        if answer.status != status:
            raise RuntimeError(f"{method} {path}: {answer.status}")
        return took


def ratio_of_medians(pairs: list[tuple[float, float]]) -> float:
    """Return the median of the second of each pair over that of the first."""
    plain, guarded = zip(*pairs, strict=True)
    return statistics.median(guarded) / statistics.median(plain)


def measure(plain: Client, guarded: Client, samples: int) -> None:
    """Print one line for each kind of request."""
    for what, request in REQUESTS.items():
        pairs = []
        for number in range(WARM_UP + samples):
            if number % 2:  # neither is always the first
                with_filter, without = guarded.ask(*request), plain.ask(*request)
            else:
                without, with_filter = plain.ask(*request), guarded.ask(*request)
            pairs.append((without, with_filter))
        del pairs[:WARM_UP]
        again = sorted(
            ratio_of_medians(random.choices(pairs, k=len(pairs))) for _ in range(RESAMPLED)
        )
        low, high = again[RESAMPLED // 40], again[-RESAMPLED // 40]
        without_ms, with_ms = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"{what:<15} {samples} samples  plain {without_ms:6.2f} ms  filter {with_ms:6.2f} ms  "
            f"ratio {ratio_of_medians(pairs):.3f} ({low:.3f} to {high:.3f})"
        )


def main() -> None:
    """Bring up the cluster and measure."""
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    pipeline, sections = documented()
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
        plain = cluster.start_proxy("plain", SAMPLE)
        options = "allow_own_addresses = false\n"
        guarded = cluster.start_proxy("guarded", pipeline, sections + options)
        token = Tokens(plain.url)
        lab = Lab(plain.url, token)
        lists = "198.51.100.0/24, 2001:db8::/32, 127.0.0.1"
        lab.container("bench", {"X-Container-Meta-Allow-Dev": lists})
        lab.put("bench/object", PAYLOAD)
        owner = token("owner")
        measure(Client(plain.port, owner), Client(guarded.port, owner), samples)


if __name__ == "__main__":
    main()
