"""``labapi-conductor``: dispatches cases and collects their results."""

from __future__ import annotations

from typing import NoReturn

from oslo_config import cfg

from labapi.cmd import opening, program, start
from labapi.conductor.manager import Conductor
from labapi.db import migration
from labapi.db.session import Database
from labapi.exceptions import BrokerUnavailable
from labapi.rpc import signing
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
    _introduce(conf, transport, database)
    conductor.start()
    program.reload_requested(lambda: _reload(conf, conductor), stop)
    if start.wait_for(lambda: _listens(conductor), stop):
        start.tell_systemd("READY=1\nSTATUS=")
    stop.wait()
    start.tell_systemd("STOPPING=1")
    conductor.stop()
    database.close()
    opening.say_goodbye("labapi-conductor")


def _introduce(conf: cfg.ConfigOpts, transport: Transport, database: Database) -> None:
    options = conf.conductor
    signer = signing.signer(options.signing_key)
    opening.say(
        "labapi-conductor",
        options.host,
        f"broker {transport.shown}",
        f"database {database.shown}",
        f"signs with key {signer.id}" if signer else "signs nothing",
        opening.limits(options, "service_down_time", "lost_after", "queue_timeout", "max_attempts"),
        opening.limits(options, "batch", "sweep_interval"),
    )


def _reload(conf: cfg.ConfigOpts, conductor: Conductor) -> None:
    if program.read_again(conf):
        conductor.reload_key()


def _listens(conductor: Conductor) -> bool:
    """Say whether it reads its queues, which it may begin to do at any moment.

    :raises BrokerUnavailable: something keeps it from them
    """
    if conductor.trouble:
        raise BrokerUnavailable(conductor.trouble)
    return conductor.listens
