"""Count requests for Prometheus.

``[filter:metrics]``
    ``use = egg:labapi-middleware#metrics``

    ``expose = 127.0.0.1:9109``
        Address and port where Prometheus fetches ``/metrics``; an IPv6 address in brackets. It is
        not the API's, and whoever reaches it needs no authentication.
    ``multiprocess_dir =``
        A directory, empty at the start of the service, where several worker processes keep their
        numbers; whichever of them has the address serves the sum of all. Without it each worker has
        numbers of its own, and only one of them is seen.
    ``buckets = 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30``
        Upper bounds of the histogram of durations, in seconds.

``labapi_http_requests_total{method,route,status}``, the histogram
``labapi_http_request_duration_seconds{method,route}`` and the gauge
``labapi_http_requests_in_flight``. The route is what the application says in
``environ['labapi.route']``, such as ``/v2.1/slaves/{id}``, and ``unmatched`` if it says nothing: no
client can make new ones. The address is served from the first request on.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values

from labapi_middleware.addresses import parse_address, split_port
from labapi_middleware.contract import Advice
from labapi_middleware.environ import ROUTE, UNMATCHED
from labapi_middleware.exchange import Exchange
from labapi_middleware.filter import Conf, Filter, Option, OptionError, comma_list, factory, text
from labapi_middleware.metrics.exposition import Exposition, collect_workers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _address(value: str) -> tuple[str, int]:
    host, port = split_port(value)
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError("expected address:port, such as 127.0.0.1:9109 or [::1]:9109")
    if host != "localhost":
        parse_address(host)
    return host, int(port)


def _buckets(value: str) -> tuple[float, ...]:
    bounds = tuple(float(item) for item in comma_list(value))
    if not bounds or list(bounds) != sorted(set(bounds)):
        raise ValueError("expected seconds in ascending order")
    return bounds


EXPOSE = Option("expose", "127.0.0.1:9109", _address, "Where Prometheus fetches the metrics.")
MULTIPROCESS_DIR = Option(
    "multiprocess_dir", "", text, "Where several worker processes keep their numbers."
)
BUCKETS = Option(
    "buckets",
    "0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30",
    _buckets,
    "Upper bounds of the histogram of durations, in seconds.",
)


class Meters:
    """The metrics of one address, and the address.

    :param address: host and port
    :param directory: shared by the workers; empty for one process
    :param buckets: of the histogram, seconds
    """

    def __init__(
        self, address: tuple[str, int], directory: str, buckets: tuple[float, ...]
    ) -> None:
        registry = CollectorRegistry()
        if directory:
            _share(directory)
            collect = partial(collect_workers, directory)
        else:
            collect = partial(generate_latest, registry)
        self.exposition = Exposition(*address, collect)
        # With the last pipeline that counts here, the address goes.
        weakref.finalize(self, self.exposition.release).atexit = False
        self.requests = Counter(
            "labapi_http_requests_total",
            "HTTP requests answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.durations = Histogram(
            "labapi_http_request_duration_seconds",
            "Time from the request to the end of its answer.",
            ("method", "route"),
            registry=registry,
            buckets=buckets,
        )
        self.in_flight = Gauge(
            "labapi_http_requests_in_flight",
            "HTTP requests being answered.",
            registry=registry,
            multiprocess_mode="livesum",
        )


# A pipeline that takes the place of another one goes on counting where that one stopped, and cannot
# have an address of its own as long as that one is there.
_METERS: weakref.WeakValueDictionary[tuple[tuple[str, int], str, tuple[float, ...]], Meters] = (
    weakref.WeakValueDictionary()
)


class Metrics(Filter):
    """Count each request by its route."""

    name = "metrics"
    options = (EXPOSE, MULTIPROCESS_DIR, BUCKETS)

    def __init__(self, app: WSGIApplication, conf: Conf) -> None:
        super().__init__(app, conf)
        key = (conf[EXPOSE], conf[MULTIPROCESS_DIR], conf[BUCKETS])
        self._key = key
        self.meters = _METERS.get(key) or Meters(*key)
        _METERS[key] = self.meters

    @classmethod
    def check(cls, conf: Conf) -> None:
        """Look whether the directory is there, and the only one in this process."""
        directory = conf[MULTIPROCESS_DIR]
        if not directory:
            return
        if not os.path.isdir(directory) or not os.access(directory, os.W_OK):
            problem = f"{directory} is not a directory that this process can write to"
            raise OptionError(cls.name, MULTIPROCESS_DIR.name, problem)
        used = os.environ.get("PROMETHEUS_MULTIPROC_DIR", directory)
        if used != directory:
            problem = f"{directory} is not the {used} that this process uses already"
            raise OptionError(cls.name, MULTIPROCESS_DIR.name, problem)

    @classmethod
    def advice(cls, conf: Conf) -> Iterable[Advice]:
        """Look whether several processes would each serve their own numbers."""
        workers = conf.written.get("workers", "1")
        if workers != "1" and not conf[MULTIPROCESS_DIR]:
            problem = f"labapi-api has {workers} workers, and only one of them would be counted"
            yield Advice(MULTIPROCESS_DIR.name, f"{problem}; name an empty folder")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Hand the request on and count it."""
        self.meters.exposition.ensure()
        self.meters.in_flight.inc()
        method = environ["REQUEST_METHOD"]
        finished = partial(self._count, method if method in _METHODS else "other")
        return Exchange(environ, start_response, finished).run(self.app)

    def _count(self, method: str, exchange: Exchange) -> None:
        route = str(exchange.environ.get(ROUTE) or UNMATCHED)
        self.meters.in_flight.dec()
        self.meters.requests.labels(method, route, exchange.status).inc()
        self.meters.durations.labels(method, route).observe(exchange.seconds)

    def close(self) -> None:
        """Give up the address."""
        self.meters.exposition.close()
        _METERS.pop(self._key, None)


def _share(directory: str) -> None:
    """Have metrics made from now on kept in files.

    The library decides that when it is imported, by an environment variable; by now somebody else
    may have imported it.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    if values.ValueClass is values.MutexValue:
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]


filter_factory = factory(Metrics)
