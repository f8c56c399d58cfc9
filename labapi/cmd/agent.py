"""``labapi-agent``: runs on a lab machine and runs its cases."""

from __future__ import annotations

from typing import NoReturn

from oslo_config import cfg

from labapi.agent.manager import Agent
from labapi.cmd import program, start
from labapi.rpc.transport import Transport


def main() -> NoReturn:
    """Run the program."""
    program.run("labapi-agent", "Runs cases on this lab machine.", _serve)


def _serve(conf: cfg.ConfigOpts) -> None:
    stop = program.stop_requested()
    program.make_state_folder(conf)
    transport = Transport(conf)
    transport.require_broker()
    agent = Agent(conf, transport)
    agent.start()
    start.tell_systemd("READY=1")
    stop.wait()
    start.tell_systemd("STOPPING=1")
    agent.stop()
