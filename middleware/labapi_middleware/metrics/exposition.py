"""An address of its own where Prometheus fetches the metrics of this process, or of all workers.

A thread accepts connections; each is answered by a thread of its own. Nothing here uses selectors:
with them, green threads that were patched in later would stand still.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, multiprocess

LOG = logging.getLogger(__name__)

# How long one client of this address may take. Seconds.
_CLIENT_TIMEOUT = 10.0
# How soon another worker takes over when the one that served the address is gone. Seconds.
RETRY = 2.0
_GAUGE = re.compile(r"gauge_live[a-z]*_([0-9]+)\.db")


class Exposition:
    """Serves metrics from the first process that can have the address.

    :param host: to listen on
    :param port: to listen on
    :param collect: returns what to serve, in Prometheus' text format
    """

    def __init__(self, host: str, port: int, collect: Callable[[], bytes]) -> None:
        self._address = (host, port)
        self._collect = collect
        self._pid = -1
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._listener: socket.socket | None = None

    def ensure(self) -> None:
        """Serve from this process, or wait for the process that does; threads do not survive a fork
        and so this is asked for again and again.
        """  # noqa: D205 - one sentence
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        if self._listener is not None:  # a copy of the parent's, which would keep the port taken
            self._listener.close()
            self._listener = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Stop serving soon; another thread or process may have the address then."""
        if self._pid == os.getpid():
            self._stop.set()

    def close(self) -> None:
        """Stop serving."""
        if self._thread is not None and self._pid == os.getpid():
            self._stop.set()
            self._thread.join(_CLIENT_TIMEOUT)
        self._pid, self._thread = -1, None

    def _run(self) -> None:
        stop = self._stop
        reported = False
        while not stop.is_set():
            try:
                family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
                listener = socket.create_server(self._address, family=family)
            except OSError as error:
                if error.errno != errno.EADDRINUSE and not reported:
                    LOG.error("metrics cannot be served on %s:%d: %s", *self._address, error)
                    reported = True
                stop.wait(RETRY)
                continue
            self._listener = listener
            with listener:
                LOG.info("process %d serves metrics on %s:%d", os.getpid(), *self._address)
                self._accept(listener, stop)
            self._listener = None

    def _accept(self, listener: socket.socket, stop: threading.Event) -> None:
        listener.settimeout(0.5)
        while not stop.is_set():
            try:
                connection, peer = listener.accept()
            except TimeoutError:
                continue
            except OSError as error:
                LOG.warning("metrics: a connection was not accepted: %s", error)
                stop.wait(0.1)
                continue
            threading.Thread(
                target=self._answer, args=(connection, peer), name="metrics-client", daemon=True
            ).start()

    def _answer(self, connection: socket.socket, peer: Any) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_CLIENT_TIMEOUT)
            _Handler(connection, peer, self)

    def collect(self) -> bytes:
        """Return what to serve."""
        return self._collect()


class _Handler(BaseHTTPRequestHandler):
    timeout = _CLIENT_TIMEOUT
    server_version = "labapi"
    sys_version = ""

    def __init__(self, connection: socket.socket, peer: Any, exposition: Exposition) -> None:
        self._exposition = exposition
        super().__init__(connection, peer, None)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        known = self.path.partition("?")[0] in ("/", "/metrics")
        body = self._exposition.collect() if known else b"only /metrics is here\n"
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST if known else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        LOG.debug(format, *args)


def collect_workers(directory: str) -> bytes:
    """Return the metrics of all processes that write to a directory."""
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
