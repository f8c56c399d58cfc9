"""``labapi-all``: the whole lab in one process, on embedded defaults."""

from __future__ import annotations

import sys
import threading
import time
from typing import NoReturn

from oslo_config import cfg

from labapi.agent.manager import Agent
from labapi.api import load
from labapi.api.backend.backend import Backend
from labapi.api.reload import Reloadable
from labapi.cmd import opening, program, start
from labapi.conductor.manager import Conductor
from labapi.db import migration, testcases
from labapi.db.session import Database
from labapi.httpd.threads import Server
from labapi.rpc.transport import Transport

ANNOUNCEMENT = 10.0  # seconds to wait for the agent's, at most

WELCOME = """\
labapi listens on {url}

    curl -s {url}/v2.1/slaves/detail | python3 -m json.tool
    curl -s '{url}/v2.1/testcases?wait=30' -H 'Content-Type: application/json' \\
      -d '{{"plugin": "linux_system", "host": "{host}", "method": "run_shell",
           "parameters": {{"command": "uname", "args": "-a"}}}}' | python3 -m json.tool

State is kept in {state}. Ctrl-C stops it.
"""


def main() -> NoReturn:
    """Run the program."""
    program.run("labapi-all", "API, conductor and one agent in one process.", _serve)


def _serve(conf: cfg.ConfigOpts) -> None:
    stop = program.stop_requested()
    state = program.make_state_folder(conf)
    program.have_alone(state, "labapi-all")
    transport = Transport(conf)
    database = Database(conf)
    server = _bind(conf)
    try:
        migration.upgrade(database)
        behind = Backend.of(conf, transport, database)
        app = Reloadable(conf, behind, load.find(conf))
        server.wsgi_app = app
        conductor = Conductor(conf, transport, database)
        agent = Agent(conf, transport)
        behind.start()
        conductor.start()
        agent.start()
        program.reload_requested(lambda: _reload(conf, app, conductor, agent), stop)
        thread = threading.Thread(target=server.serve, name="http", daemon=True)
        thread.start()
        opening.say(
            "labapi-all",
            conf.agent.host,
            f"broker {transport.shown}",
            f"database {database.shown}",
            opening.listed("plugin", agent.plugins),
            opening.limits(conf.api, "threads"),
            opening.limits(conf.agent, "slots"),
        )
        _wait_for_host(database, conf.agent.host, stop)
        url = f"http://{server.bind_addr[0]}:{server.bind_addr[1]}"
        sys.stdout.write(WELCOME.format(url=url, host=conf.agent.host, state=state))
        sys.stdout.flush()
        start.tell_systemd("READY=1")
        stop.wait()
        start.tell_systemd("STOPPING=1")
        behind.draining.set()
        stop.again.wait(conf.api.drain_delay)
        # cheroot waits for every request under way, however long it takes.
        behind.waiters.let_go()
    finally:
        server.stop()
    agent.drain(conf.agent.drain_timeout, stop.again)
    agent.stop()
    conductor.stop()
    behind.stop()


def _reload(conf: cfg.ConfigOpts, app: Reloadable, conductor: Conductor, agent: Agent) -> None:
    app.reload()
    if program.read_again(conf):
        agent.reload_keys()
        conductor.reload_key()


def _wait_for_host(database: Database, host: str, stop: threading.Event) -> None:
    """Return when the agent's announcement has arrived: what the welcome shows works at once."""
    until = time.monotonic() + ANNOUNCEMENT
    while not database.read(testcases.target, host) and time.monotonic() < until:
        if stop.wait(0.01):
            return


def _bind(conf: cfg.ConfigOpts) -> Server:
    """Return the HTTP server, bound but not serving yet.

    eventlet is the choice of ``labapi-api`` alone; here, beside an agent, threads serve.
    """
    options = conf.api
    server = Server(
        (options.host, options.port),
        threads=options.threads,
        max_body=options.max_body,
        keepalive=options.keepalive,
        receive_timeout=options.receive_timeout,
        stop_timeout=options.stop_timeout,
    )
    server.listen()
    return server
