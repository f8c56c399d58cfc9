"""``labapi-agent``: runs on a lab machine and runs its cases."""

from __future__ import annotations

from typing import NoReturn

from oslo_config import cfg

from labapi.agent.manager import Agent
from labapi.cmd import opening, program, start
from labapi.rpc import signing
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
    _introduce(conf, transport, agent)
    program.reload_requested(lambda: _reload(conf, agent), stop)
    start.tell_systemd("READY=1")
    stop.wait()
    start.tell_systemd("STOPPING=1")
    agent.drain(conf.agent.drain_timeout, stop.again)
    agent.stop()
    opening.say_goodbye("labapi-agent")


def _introduce(conf: cfg.ConfigOpts, transport: Transport, agent: Agent) -> None:
    options = conf.agent
    keys = [signing.key_id(key) for key in signing.trusted(options.trusted_keys)]
    opening.say(
        "labapi-agent",
        options.host,
        f"broker {transport.shown}",
        f"trusts {opening.listed('key', keys)}" if keys else "obeys unsigned commands",
        opening.listed("plugin", agent.plugins),
        opening.limits(options, "slots", "max_waiting", "max_output", "heartbeat_interval"),
        f"cases run as {options.run_as or 'the same user'}",
    )


def _reload(conf: cfg.ConfigOpts, agent: Agent) -> None:
    if program.read_again(conf):
        agent.reload_keys()
