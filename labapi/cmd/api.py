"""``labapi-api``: the HTTP API on eventlet, in several processes.

This module is the only one that knows eventlet, and the only place where anything is patched.
"""

from __future__ import annotations

import warnings

# That eventlet is legacy is why it is the choice of this program alone, not news to its user.
warnings.filterwarnings("ignore", message="\\s*Eventlet is deprecated")

# Before anything else is imported, so that nothing holds an unpatched lock or socket.
import eventlet  # noqa: E402

eventlet.monkey_patch()

import logging  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, NoReturn  # noqa: E402

import eventlet.wsgi  # noqa: E402
from oslo_config import cfg  # noqa: E402
from oslo_log import log  # noqa: E402

from labapi.api import load, reload  # noqa: E402
from labapi.api.backend.backend import Backend  # noqa: E402
from labapi.api.reload import Reloadable  # noqa: E402
from labapi.cmd import prefork, program  # noqa: E402
from labapi.db import migration  # noqa: E402
from labapi.db.session import Database  # noqa: E402
from labapi.rpc.transport import Transport  # noqa: E402

LOG = log.getLogger(__name__)

BACKLOG = 1024
ACCEPT_PAUSE = 0.0005  # seconds between two connections that one worker takes


def main() -> NoReturn:
    """Run the program."""
    program.run("labapi-api", "The HTTP API.", _serve)


def _serve(conf: cfg.ConfigOpts) -> None:
    transport = Transport(conf)
    transport.require_broker()
    database = Database(conf)
    migration.require_current(database)
    # A mistake in the Paste file shows here, before any process is started.
    path = load.find(conf)
    load.load(conf, Backend.of(conf, transport, database), path)
    database.close()
    listener = _listen(conf)
    sys.stdout.write(f"labapi-api listens on http://{conf.api.host}:{conf.api.port}\n")
    sys.stdout.flush()
    prefork.run(
        conf.api.workers,
        lambda: _work(conf, listener, path),
        conf.api.stop_timeout,
        lambda: reload.worth_it(conf, path),
    )


def _listen(conf: cfg.ConfigOpts) -> socket.socket:
    options = conf.api
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listener: socket.socket = eventlet.listen(
            (options.host, options.port), family=family, backlog=BACKLOG, reuse_port=False
        )
    except OSError as error:
        raise OSError(
            f"cannot listen on {options.host}:{options.port}: {error.strerror or error}"
        ) from error
    return listener


def _work(conf: cfg.ConfigOpts, listener: socket.socket, path: Path) -> None:
    """Serve in one process until SIGTERM, then finish what is under way."""
    eventlet.hubs.use_hub()  # the parent's event loop would be shared by all workers
    behind = Backend.of(conf, Transport(conf), Database(conf))
    app = Reloadable(conf, behind, path)
    behind.start()
    pool = _Connections(conf.api.greenthreads)
    server = eventlet.spawn(
        eventlet.wsgi.server,
        listener,
        app,
        custom_pool=pool,
        keepalive=True,
        socket_timeout=conf.api.keepalive,
        log=logging.getLogger("eventlet.wsgi.server"),
        log_output=False,
        debug=False,  # a traceback is for the log, not for the client
        capitalize_response_headers=False,  # their names are as they should be
    )
    signal.signal(signal.SIGTERM, lambda *_: server.kill())
    _reload_upon_sighup(app)
    try:
        server.wait()
    except eventlet.greenlet.GreenletExit:
        LOG.debug("worker stops")
    with eventlet.Timeout(conf.api.stop_timeout, False):
        pool.waitall()
    behind.stop()


class _Connections(eventlet.GreenPool):  # type: ignore[misc]  # no type information
    """The connections of one worker, taken one at a time so that others get their share.

    The worker that wakes first would take all that come at the same moment, and keep them for as
    long as their clients do.
    """

    def spawn(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Serve a connection, and leave the next one to another worker for a moment."""
        served = super().spawn(function, *args, **kwargs)
        eventlet.sleep(ACCEPT_PAUSE)
        return served


def _reload_upon_sighup(app: Reloadable) -> None:
    """Reload in a green thread.

    A handler of a signal may run inside eventlet's loop, where nothing may wait, so the signal only
    becomes a byte in a pipe, and that wakes the green thread.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGHUP, lambda *_: None)

    def wait() -> None:
        while True:
            if signal.SIGHUP in os.read(reader, 4096):
                app.reload()

    eventlet.spawn(wait)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
