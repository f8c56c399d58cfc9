"""The page with a program's numbers, at a port of its own.

prometheus_client and cheroot are imported when a page is made: a program that shows no numbers does
not load them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from oslo_log import log

import labapi
from labapi.exceptions import ConfigError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

LOG = log.getLogger(__name__)

THREADS = 2  # pages that are made at the same time
TIMEOUT = 10.0  # seconds that a client has to say what it wants, and to take the answer


class Page:
    """Answers ``GET /metrics``.

    :param program: whose numbers these are
    :param options: a group with ``host``, ``metrics_host`` and ``metrics_port``
    :ivar registry: what is shown
    """

    def __init__(self, program: str, options: Any) -> None:
        from cheroot import wsgi
        from prometheus_client import CollectorRegistry, Info, make_wsgi_app

        self.registry: CollectorRegistry = CollectorRegistry()
        Info("labapi", "The program that shows these numbers.", registry=self.registry).info(
            {"program": program, "host": options.host, "version": labapi.__version__}
        )
        self._server = wsgi.Server(
            (options.metrics_host, options.metrics_port),
            make_wsgi_app(self.registry),
            numthreads=THREADS,
            max=THREADS,
            timeout=TIMEOUT,
            shutdown_timeout=1,
        )
        self._server.error_log = _note

    def start(self) -> None:
        """Serve, in threads of its own.

        :raises ConfigError: nothing can listen there
        """
        try:
            self._server.prepare()
        except OSError as error:
            host, port = self._server.bind_addr
            why = error.strerror or error
            raise ConfigError(f"metrics_port: cannot listen on {host}:{port}: {why}") from error
        threading.Thread(target=self._server.serve, name="metrics", daemon=True).start()

    def stop(self) -> None:
        """Serve no more."""
        self._server.stop()


def _note(message: str = "", level: int = 20, *, traceback: bool = False) -> None:
    LOG.debug("metrics: %s", message, exc_info=traceback)
