"""Agents that run nothing: real connections, queues, announcements and heartbeats.

    python -m bench.simulated_agents CONFIG FIRST COUNT

Prints ``open SECONDS``, since the epoch, for each connection that is made. Ends with its standard
input.
"""

from __future__ import annotations

import sys
import threading
import time
import uuid
from typing import Any

from labapi import config
from labapi.agent.link.link import Link
from labapi.agent.link.reading import Reading
from labapi.agent.link.reporter import Reporter
from labapi.rpc.messages import Announce, Heartbeat, Message, MethodDescription
from labapi.rpc.transport import Transport, agent_queue, control_queue

INTERVAL = 10.0  # seconds between the heartbeats of one agent
STACK = 256 * 1024  # bytes of a thread: there are many
PLUGINS = {"linux_system": {"run_shell": MethodDescription(description="Run a program")}}


class _Told(Transport):
    """A way to the broker that tells when it was taken."""

    def connect(self, **how: Any) -> Any:
        connection = super().connect(**how)
        sys.stdout.write(f"open {time.time():.3f}\n")
        return connection


class SimulatedAgent:
    """Says of a host that it is here."""

    def __init__(self, transport: Transport, host: str) -> None:
        self._host = host
        self._agent = str(uuid.uuid4())
        self._session = uuid.uuid4().hex
        self._reporter = Reporter(
            host,
            wake=lambda: self._link.wake(),
            confirmed=lambda _: None,
            lost=lambda: None,
            back=self.announce,
        )
        readings = [
            Reading(name, queue, _ignore, batch=8, verifier=None, alone=True)
            for name, queue in (("cases", agent_queue(host)), ("control", control_queue(host)))
        ]
        self._link = Link(transport, readings, self._reporter)

    def start(self) -> None:
        """Connect, and announce the host."""
        self.announce()
        self._link.start()

    def announce(self) -> None:
        """Say who this is."""
        self._reporter.tell(
            Announce(
                host=self._host,
                agent=self._agent,
                session=self._session,
                address=None,
                release="bench",
                plugins=PLUGINS,
            )
        )

    def beat(self) -> None:
        """Say that it is here."""
        now = time.time()
        facts = {"load1": round(now % 8, 2), "memory_available_mib": int(now) % 50_000}
        beat = Heartbeat(
            host=self._host, agent=self._agent, session=self._session, clock=now, facts=facts
        )
        self._reporter.tell(beat)


def _ignore(_messages: list[Message]) -> None:
    pass


def _beat(agents: list[SimulatedAgent]) -> None:
    while True:
        for agent in agents:
            agent.beat()
            time.sleep(INTERVAL / len(agents))


def main() -> None:
    conf = config.load(["--config-file", sys.argv[1]], prog="bench", description="")
    first, count = int(sys.argv[2]), int(sys.argv[3])
    threading.stack_size(STACK)
    agents = [SimulatedAgent(_Told(conf), f"agent-{first + n}") for n in range(count)]
    for agent in agents:
        agent.start()
        time.sleep(0.005)  # those of a real lab do not start in one moment either
    threading.Thread(target=_beat, args=(agents,), daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
