"""``labapi-api``: the HTTP API on eventlet, in several processes.

This module and :mod:`labapi.httpd.green` alone know eventlet, and only here anything is patched.
"""

from __future__ import annotations

import warnings

# That eventlet is legacy is why it is the choice of this program alone, not news to its user.
warnings.filterwarnings("ignore", message="\\s*Eventlet is deprecated")

# Before anything else is imported, so that nothing holds an unpatched lock or socket.
import eventlet  # noqa: E402

eventlet.monkey_patch()

import gc  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from typing import NoReturn  # noqa: E402

from oslo_config import cfg  # noqa: E402

from labapi.api.backend.backend import Backend  # noqa: E402
from labapi.api.reload import Reloadable  # noqa: E402
from labapi.cmd import opening, prefork, program, start  # noqa: E402
from labapi.cmd.approved import Approved  # noqa: E402
from labapi.db import migration  # noqa: E402
from labapi.db.session import Database  # noqa: E402
from labapi.httpd.green import BACKLOG, Server  # noqa: E402
from labapi.rpc.transport import Transport  # noqa: E402


def main() -> NoReturn:
    """Run the program."""
    program.run("labapi-api", "The HTTP API.", _serve)


def _serve(conf: cfg.ConfigOpts) -> None:
    stop = program.stop_requested()
    transport = Transport(conf)
    transport.require_broker()
    database = Database(conf)
    if not start.wait_for(lambda: migration.require_current(database), stop):
        return
    # A mistake in the Paste file shows here, before any process is started.
    approved = Approved(Backend.of(conf, transport, database), eventlet.hubs.use_hub)
    database.close()
    listener = _listen(conf)
    prefork.hold_signals()
    if stop.is_set():
        return
    sys.stdout.write(f"labapi-api listens on http://{conf.api.host}:{conf.api.port}\n")
    sys.stdout.flush()
    _introduce(conf, transport, database, approved)
    # Without the broker cases are taken, and wait in the database: that is no reason to wait here.
    start.tell_systemd("READY=1\nSTATUS=")
    prefork.run(
        conf.api.workers,
        lambda: _work(conf, listener, approved),
        conf.api.drain_delay + conf.api.stop_timeout,
        approved.renew,
        lambda: _stop(listener),
    )


def _introduce(
    conf: cfg.ConfigOpts, transport: Transport, database: Database, approved: Approved
) -> None:
    options = conf.api
    opening.say(
        "labapi-api",
        options.machine,
        f"broker {transport.shown}",
        f"database {database.shown}",
        f"pipeline {approved.path}",
        opening.limits(options, "workers", "greenthreads", "database_time", "max_wait"),
    )


def _stop(listener: socket.socket) -> None:
    start.tell_systemd("STOPPING=1")
    listener.close()


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


def _work(conf: cfg.ConfigOpts, listener: socket.socket, approved: Approved) -> None:
    """Serve in one process until SIGTERM, then finish what is under way."""
    parent = os.getppid()
    eventlet.hubs.use_hub()  # the parent's event loop would be shared by all workers
    behind = Backend.of(conf, Transport(conf), Database(conf), approved.policy)
    app = Reloadable(conf, behind, approved.path, approved.texts)
    behind.start()
    server = Server(listener, app, connections=conf.api.greenthreads, keepalive=conf.api.keepalive)
    server.start()
    _keep_what_is_here()
    signals = _signals(signal.SIGHUP, signal.SIGTERM)
    while next(signals) != signal.SIGTERM:
        app.reload()
        _keep_what_is_here()
    behind.draining.set()
    if conf.api.drain_delay and os.getppid() == parent:  # else somebody may wait for the port
        with eventlet.Timeout(conf.api.drain_delay, False):
            while next(signals) != signal.SIGTERM:
                pass
    server.close()
    behind.waiters.let_go()
    server.wait(conf.api.stop_timeout)
    behind.stop()


def _keep_what_is_here() -> None:
    """Have Python's collector look at what comes from now on: the rest stays.

    Some 150,000 objects are the program itself. To look at them all takes 0.1 s, in which no
    request goes on.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _signals(*numbers: signal.Signals) -> Iterator[int]:
    """Yield signals as they come, in the green thread that asks for them.

    A handler of a signal may run inside eventlet's loop, where nothing may wait, so the signal only
    becomes a byte in a pipe, and that wakes the green thread.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    while True:
        yield from (number for number in os.read(reader, 4096) if number in numbers)
