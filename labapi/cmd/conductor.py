"""``labapi-conductor``: dispatches cases and collects their results."""

from __future__ import annotations

from typing import NoReturn

from oslo_config import cfg

from labapi.cmd import program, start
from labapi.conductor.manager import Conductor
from labapi.db import migration
from labapi.db.session import Database
from labapi.exceptions import BrokerUnavailable
from labapi.rpc.transport import Transport


def main() -> NoReturn:
    """Run the program."""
    program.run("labapi-conductor", "Dispatches cases and collects their results.", _serve)


def _serve(conf: cfg.ConfigOpts) -> None:
    stop = program.stop_requested()
    transport = Transport(conf)
    transport.require_broker()
    database = Database(conf)
    if not start.wait_for(lambda: migration.require_current(database), stop):
        return
    conductor = Conductor(conf, transport, database)
    conductor.start()
    if start.wait_for(lambda: _require_listening(conductor), stop):
        start.tell_systemd("READY=1\nSTATUS=")
    stop.wait()
    start.tell_systemd("STOPPING=1")
    conductor.stop()
    database.close()


def _require_listening(conductor: Conductor) -> None:
    if not conductor.listens:
        raise BrokerUnavailable("the message broker is away")
