"""``labapi-conductor``: dispatches cases and collects their results."""

from __future__ import annotations

from typing import NoReturn

from oslo_config import cfg

from labapi.cmd import program
from labapi.conductor.manager import Conductor
from labapi.db import migration
from labapi.db.session import Database
from labapi.rpc.transport import Transport


def main() -> NoReturn:
    """Run the program."""
    program.run("labapi-conductor", "Dispatches cases and collects their results.", _serve)


def _serve(conf: cfg.ConfigOpts) -> None:
    stop = program.stop_requested()
    transport = Transport(conf)
    transport.require_broker()
    database = Database(conf)
    migration.require_current(database)
    conductor = Conductor(conf, transport, database)
    conductor.start()
    stop.wait()
    conductor.stop()
    database.close()
