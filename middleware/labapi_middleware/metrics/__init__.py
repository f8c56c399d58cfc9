"""Count requests for Prometheus, and show what was counted.

``[filter:metrics]``
    ``use = egg:labapi-middleware#metrics``

    ``multiprocess_dir =``
        A directory, empty at the start of the service, where several worker processes keep their
        numbers; whichever of them is asked shows the sum of all. Without it each worker has numbers
        of its own, and shows those.
    ``buckets = 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30``
        Upper bounds of the histogram of durations, in seconds.

``[app:metrics_app]``
    ``use = egg:labapi-middleware#metrics``

The filter counts ``labapi_http_requests_total{method,route,status}``, the histogram
``labapi_http_request_duration_seconds{method,route}`` and the gauge
``labapi_http_requests_in_flight``. The route is what the application says in
``environ['labapi.route']``, such as ``/v2.1/slaves/{id}``, and ``unmatched`` if it says nothing: no
client can make new ones.

The application answers with all numbers of the process, or of all workers, in Prometheus' text
format. It has no options and stands at the end of a pipeline of its own, mounted by a URL map, so
that filters can guard it as they guard everything else. All metrics filters of a process count in
one place; a pipeline that takes the place of another goes on counting where that one stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from labapi_middleware import faults
from labapi_middleware.contract import Advice
from labapi_middleware.environ import ROUTE, UNMATCHED
from labapi_middleware.exchange import Exchange
from labapi_middleware.filter import Conf, Filter, Option, OptionError, comma_list, factory, text
from labapi_middleware.metrics import sharing

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _buckets(value: str) -> tuple[float, ...]:
    bounds = tuple(float(item) for item in comma_list(value))
    if not bounds or list(bounds) != sorted(set(bounds)):
        raise ValueError("expected seconds in ascending order")
    return bounds


MULTIPROCESS_DIR = Option(
    "multiprocess_dir", "", text, "Where several worker processes keep their numbers."
)
BUCKETS = Option(
    "buckets",
    "0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30",
    _buckets,
    "Upper bounds of the histogram of durations, in seconds.",
)


class Metrics(Filter):
    """Count each request by its route."""

    name = "metrics"
    options = (MULTIPROCESS_DIR, BUCKETS)
    removed = MappingProxyType(
        {
            "expose": "the metrics have no port of their own any more; remove this line, and write "
            "'/metrics = metrics_page' into [composite:main] and the section "
            "[pipeline:metrics_page] as the shipped api-paste.ini has it"
        }
    )

    def __init__(self, app: WSGIApplication, conf: Conf) -> None:
        super().__init__(app, conf)
        if conf[MULTIPROCESS_DIR]:
            sharing.use(conf[MULTIPROCESS_DIR])
        from labapi_middleware.metrics import meters

        self.meters = meters.METERS
        self.meters.use_buckets(conf[BUCKETS])

    @classmethod
    def check(cls, conf: Conf) -> None:
        """Check that the directory can be used, and that this process uses no other."""
        directory = conf[MULTIPROCESS_DIR]
        problem = sharing.problem(directory) if directory else None
        if problem is not None:
            raise OptionError(cls.name, MULTIPROCESS_DIR.name, problem)

    @classmethod
    def advice(cls, conf: Conf) -> Iterable[Advice]:
        """Advise several workers to share their numbers."""
        workers = conf.written.get("workers", "1")
        if workers != "1" and not conf[MULTIPROCESS_DIR]:
            problem = f"labapi-api has {workers} workers, and each would show its own numbers only"
            yield Advice(MULTIPROCESS_DIR.name, f"{problem}; name an empty folder")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Hand the request on and count it."""
        self.meters.in_flight.inc()
        method = environ["REQUEST_METHOD"]
        finished = partial(self._count, method if method in _METHODS else "other")
        return Exchange(environ, start_response, finished).run(self.app)

    def _count(self, method: str, exchange: Exchange) -> None:
        route = str(exchange.environ.get(ROUTE) or UNMATCHED)
        self.meters.in_flight.dec()
        self.meters.requests.labels(method, route, exchange.status).inc()
        self.meters.durations.labels(method, route).observe(exchange.seconds)


filter_factory = factory(Metrics)


def app_factory(global_conf: Mapping[str, str] | None) -> WSGIApplication:
    """Return the application that shows the numbers."""
    return show


def show(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the numbers in Prometheus' text format."""
    from labapi_middleware.metrics import meters

    if environ.get("PATH_INFO", "") not in ("", "/"):
        return faults.respond(environ, start_response, 404, "Only the metrics are here.")
    environ[ROUTE] = environ.get("SCRIPT_NAME") or "/"
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        allow = [("Allow", "GET, HEAD")]
        return faults.respond(environ, start_response, 405, "Metrics can be read only.", allow)
    body = meters.METERS.text()
    headers = [("Content-Type", meters.CONTENT_TYPE), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
