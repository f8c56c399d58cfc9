"""A Celery task that runs ``true``, its worker's application and its caller.

    celery -A bench.celery_reference worker
    python -m bench.celery_reference WINDOW SECONDS
    python -m bench.celery_reference group|chord|chain COUNT

All in Celery's own environment, with the broker's URL in ``BENCH_BROKER``. The first caller keeps
WINDOW tasks under way and prints JSON as ``bench.load`` does; the second runs COUNT tasks as one of
Celery's compositions, and prints the seconds that it took. With a database in ``BENCH_BACKEND``
results are kept there, messages are confirmed, and a task is acknowledged when its result is
written. ``BENCH_RESULTS`` is a store of results and no more: a chord needs one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from typing import Any

from celery import Celery, chain, chord, group

KEPT = os.environ.get("BENCH_BACKEND")
RESULTS = os.environ.get("BENCH_RESULTS", "rpc://")

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=KEPT or RESULTS)
if KEPT:
    app.conf.update(
        broker_transport_options={"confirm_publish": True},
        task_acks_late=True,
        result_extended=True,
        database_short_lived_sessions=False,
    )
TIMEOUT = 30.0  # seconds
LONG = 600.0  # seconds for many tasks
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


@app.task(name="failed")  # type: ignore[untyped-decorator]
def failed(statuses: list[int]) -> int:
    """Return how many of these are not 0: what a chord ends with."""
    return sum(map(bool, statuses))


def compose(kind: str, count: int) -> float:
    """Run so many tasks as one composition, and return the seconds until its result is there."""
    true.delay().get(timeout=TIMEOUT)
    tasks = [true.si() for _ in range(count)]
    begin = time.perf_counter()
    if kind == "chord":
        wrong = chord(tasks)(failed.s()).get(timeout=LONG)
    elif kind == "group":
        wrong = any(group(tasks)().get(timeout=LONG))
    else:
        wrong = chain(tasks)().get(timeout=LONG)
    if wrong:
        raise SystemExit("a task failed")
    return time.perf_counter() - begin


if __name__ == "__main__":
    first, second = sys.argv[1:]
    if first.isdigit():
        sys.stdout.write(json.dumps(call(int(first), float(second))))
    else:
        sys.stdout.write(str(compose(first, int(second))))
