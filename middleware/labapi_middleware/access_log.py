"""Log one line for each request.

``[filter:access_log]``
    ``use = egg:labapi-middleware#access_log``

    ``log_query = false``
        Log the query string, too. It may hold secrets.

The line goes to the logger ``labapi_middleware.access_log`` at level info once the body is finished
or given up::

    req-… 192.0.2.7 alice "GET /v2.1/slaves/6" 200 512 0.013 /v2.1/slaves/{id}

request id, client, user, method and path, status, bytes of the body, seconds, and the route that
the application names in ``environ['labapi.route']`` or ``unmatched``; ``-`` for what is not known.
Status 500 with an unfinished body is an exception that nothing in the pipeline caught; ``!`` after
the bytes is an answer that broke off. Anything but plain printable characters leaves as ``%XX``, so
that no client can write lines of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from labapi_middleware import identity, log_text
from labapi_middleware.environ import REQUEST_ID, ROUTE, UNMATCHED
from labapi_middleware.exchange import Exchange
from labapi_middleware.filter import Conf, Filter, Option, boolean, factory

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)

LOG_QUERY = Option("log_query", "false", boolean, "Log the query string, which may hold secrets.")


class AccessLog(Filter):
    """Log each request when it is over."""

    name = "access_log"
    options = (LOG_QUERY,)

    def __init__(self, app: WSGIApplication, conf: Conf) -> None:
        super().__init__(app, conf)
        self.log_query = conf[LOG_QUERY]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Hand the request on and log it."""
        if not LOG.isEnabledFor(logging.INFO):
            return self.app(environ, start_response)
        # Taken now: an application may rewrite both.
        target = f"{log_text.printable(environ['REQUEST_METHOD'])} {log_text.path(environ)}"
        if self.log_query and environ.get("QUERY_STRING"):
            target += f"?{log_text.query(environ)}"
        return Exchange(environ, start_response, partial(_log, target)).run(self.app)


def _log(target: str, exchange: Exchange) -> None:
    environ = exchange.environ
    LOG.info(
        '%s %s %s "%s" %s %d%s %.3f %s',
        environ.get(REQUEST_ID, "-"),
        log_text.printable(environ.get("REMOTE_ADDR") or "-"),
        log_text.printable(identity.user_id(environ) or "-"),
        target,
        exchange.status,
        exchange.sent,
        "" if exchange.complete else "!",
        exchange.seconds,
        environ.get(ROUTE) or UNMATCHED,
    )


filter_factory = factory(AccessLog)
