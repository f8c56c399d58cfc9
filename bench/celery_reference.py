"""A Celery task that runs ``true``, its worker's application and its caller.

    celery -A bench.celery_reference worker
    python -m bench.celery_reference WINDOW SECONDS

Both in Celery's own environment, with the broker's URL in ``BENCH_BROKER``. The caller keeps WINDOW
tasks under way and prints JSON as ``bench.load`` does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from typing import Any

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend="rpc://")
TIMEOUT = 30.0  # seconds
WARM_UP = 10  # tasks


@app.task(name="true")  # type: ignore[untyped-decorator]
def true() -> int:
    """Run ``true`` and return its exit status."""
    return subprocess.run(["true"], check=False).returncode


def call(window: int, seconds: float) -> dict[str, Any]:
    """Call the task for so many seconds."""
    for _ in range(WARM_UP):
        true.delay().get(timeout=TIMEOUT)
    latencies: list[float] = []
    under_way: deque[tuple[float, Any]] = deque()
    begin, cpu = time.perf_counter(), time.process_time()
    end = begin + seconds
    while under_way or time.perf_counter() < end:
        while len(under_way) < window and time.perf_counter() < end:
            under_way.append((time.perf_counter(), true.delay()))
        if not under_way:
            break
        sent, result = under_way.popleft()
        if result.get(timeout=TIMEOUT) != 0:
            raise SystemExit("a task failed")
        latencies.append((time.perf_counter() - sent) * 1000)
    return {
        "requests": len(latencies),
        "seconds": time.perf_counter() - begin,
        "cpu": time.process_time() - cpu,
        "latencies": latencies,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(call(int(sys.argv[1]), float(sys.argv[2]))))
