"""The numbers, kept by prometheus_client: in this process, or in files for all workers together.

The library decides between the two when it is imported, by an environment variable. So this module
is imported when a filter is built, and not before.
"""

from __future__ import annotations

import contextlib
import os
import re

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from labapi_middleware.metrics.sharing import DIRECTORY

CONTENT_TYPE = CONTENT_TYPE_LATEST

_GAUGE = re.compile(r"gauge_live[a-z]*_([0-9]+)\.db")


class Meters:
    """The numbers of this process, whichever of its pipelines counts.

    :ivar durations: the histogram; set by :meth:`use_buckets`
    """

    durations: Histogram

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._buckets: tuple[float, ...] = ()
        self.requests = Counter(
            "labapi_http_requests_total",
            "HTTP requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "labapi_http_requests_in_flight",
            "HTTP requests being answered.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def use_buckets(self, buckets: tuple[float, ...]) -> None:
        """Measure durations in these buckets from now on; other ones begin anew.

        :param buckets: upper bounds, seconds
        """
        if buckets == self._buckets:
            return
        if self._buckets:
            self._registry.unregister(self.durations)
        self._buckets = buckets
        self.durations = Histogram(
            "labapi_http_request_duration_seconds",
            "Time from the request to the end of its answer.",
            ("method", "route"),
            registry=self._registry,
            buckets=buckets,
        )

    def text(self) -> bytes:
        """Return everything in Prometheus' text format: of all workers, if they share."""
        directory = os.environ.get(DIRECTORY)
        return _of_workers(directory) if directory else generate_latest(self._registry)


METERS = Meters()


def _of_workers(directory: str) -> bytes:
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            match = _GAUGE.fullmatch(name)
            if match and not _lives(int(match[1])):
                # What a dead worker had in flight is not in flight any more.
                multiprocess.mark_process_dead(  # type: ignore[no-untyped-call]
                    int(match[1]), directory
                )
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, directory)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
