"""An agent of its own for each test, on an in-process broker."""

from __future__ import annotations

import logging
import queue
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from kombu.transport import memory
from msgspec.structs import replace

from labapi import config
from labapi.agent.manager import Agent
from labapi.rpc.consumer import BatchConsumer
from labapi.rpc.messages import CancelCase, CaseResult, Message, Output, RunCase
from labapi.rpc.publisher import Envelope, Publisher
from labapi.rpc.transport import HEARTBEAT_QUEUE, REPORT_QUEUE, Transport
from tests.processes import until

SHIPPED = {
    "linux_system": "labapi.agent.plugins.linux_system:LinuxSystem",
    "build_server": "labapi.agent.plugins.build_server:BuildServer",
    "http": "labapi.agent.plugins.http:Http",
}
HOST = "bench-1"


@pytest.fixture(scope="session", autouse=True)
def quick_consumers() -> Iterator[None]:
    """Have consumers look at their stop flag more often, so that a test ends sooner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labapi.rpc.consumer.IDLE", 0.05)
        yield


@pytest.fixture(scope="module", autouse=True)
def broker_for_this_module() -> Iterator[None]:
    """The in-process broker keeps its queues for as long as the process lives."""
    yield
    empty_broker()


def empty_broker() -> None:
    """Forget the queues of the in-process broker and what is in them."""
    memory.Channel.queues.clear()
    memory.Channel.events.clear()
    memory.Transport.global_state.exchanges.clear()
    memory.Transport.global_state.bindings.clear()
    memory.Transport.global_state.queue_index.clear()


def install_shipped(site: Path) -> None:
    """Make the shipped plugins known to an interpreter in which labapi is not installed."""
    if not any(entry.name == "linux_system" for entry in entry_points(group="labapi.plugins")):
        _install(site, "shipped", SHIPPED)


def _install(site: Path, distribution: str, plugins: dict[str, str]) -> None:
    info = site / f"{distribution}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
    lines = [f"{name} = {value}" for name, value in plugins.items()]
    (info / "entry_points.txt").write_text("\n".join(["[labapi.plugins]", *lines, ""]))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a distribution with entry points in ``labapi.plugins``, and its modules."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def add(distribution: str, plugins: dict[str, str], **modules: str) -> None:
        _install(site, distribution, plugins)
        for name, text in modules.items():
            sys.modules.pop(name, None)
            (site / f"{name}.py").write_text(text)

    install_shipped(site)
    return add


class Conductor:
    """What stands at the other end of the broker: collects all that agents send."""

    def __init__(self, transport: Transport) -> None:
        self.publisher = Publisher(transport)
        self.received: list[Message] = []
        self._arrived: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._consumer = BatchConsumer(
            transport, [REPORT_QUEUE, HEARTBEAT_QUEUE], self._take, name="conductor"
        )
        self._consumer.start()
        assert self._consumer.consuming.wait(60)

    def _take(self, messages: list[Message]) -> None:
        self.received += messages
        self._arrived.put(None)

    def close(self) -> None:
        self._consumer.stop()
        self.publisher.close()

    def send(self, *commands: RunCase | CancelCase) -> None:
        self.publisher.publish(
            [
                Envelope(c, f"{'agent' if isinstance(c, RunCase) else 'control'}.{c.host}")
                for c in commands
            ]
        )

    def wait(
        self, kind: type[Any], count: int = 1, timeout: float = 60.0, **fields: Any
    ) -> list[Any]:
        """Return the messages of a kind with these fields once there are so many."""
        deadline = time.monotonic() + timeout
        while True:
            found = [
                m
                for m in list(self.received)
                if isinstance(m, kind) and all(getattr(m, k) == v for k, v in fields.items())
            ]
            if len(found) >= count:
                return found
            try:
                self._arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {kind.__name__} {fields}; got {self.received}") from None

    def result(self, command: RunCase, timeout: float = 60.0) -> CaseResult:
        """Return the result of an attempt, with its whole output, however many pieces it had."""
        found: CaseResult = self.wait(CaseResult, attempt=command.attempt, timeout=timeout)[0]
        pieces = {
            m.offset: m.data
            for m in self.received
            if isinstance(m, Output) and m.attempt == command.attempt
        }
        pieces[found.output_offset] = found.output
        whole = b""
        for offset in sorted(pieces):
            assert offset == len(whole)
            whole += pieces[offset]
        return replace(found, output=whole, output_offset=0)

    def output(self, command: RunCase) -> bytes:
        """Return the whole output of a finished attempt."""
        return self.result(command).output


def new_conf(folder: Path, **options: Any) -> Any:
    """Return a configuration with its state in a folder; options of ``[agent]`` by keyword."""
    defaults = {"host": HOST, "plugins": ["linux_system"], "kill_grace": 1.0, **options}
    conf = config.new(
        state_path=str(folder / "state"),
        **{f"agent__{name}": value for name, value in defaults.items()},
    )
    conf([], default_config_files=[], default_config_dirs=[])
    return conf


@pytest.fixture
def make_conf(tmp_path: Path, install: Callable[..., None]) -> Callable[..., Any]:
    """Return a function that makes a configuration; options of ``[agent]`` by keyword."""
    logging.getLogger("labapi").setLevel(logging.DEBUG)

    return partial(new_conf, tmp_path)


@pytest.fixture
def conductor(make_conf: Callable[..., Any]) -> Iterator[Conductor]:
    end = Conductor(Transport(make_conf()))
    yield end
    end.close()
    empty_broker()


@pytest.fixture
def start(make_conf: Callable[..., Any], conductor: Conductor) -> Iterator[Callable[..., Agent]]:
    """Return a function that starts an agent; options of ``[agent]`` by keyword."""
    agents: list[Agent] = []

    def begin(**options: Any) -> Agent:
        conf = make_conf(**options)
        agent = Agent(conf, Transport(conf))
        agent.start()
        agents.append(agent)
        # The broker drops what no queue is there for.
        until(lambda agent=agent: agent._cases.consumes and agent._control.consumes)
        return agent

    yield begin
    for agent in agents:
        if agent.alive:
            agent.stop()


def case(method: str = "run_shell", /, *, plugin: str = "linux_system", **fields: Any) -> RunCase:
    """Return a command; parameters and fields of ``RunCase`` by keyword."""
    known = {"case", "attempt", "host", "timeout"}
    command = {k: fields.pop(k) for k in list(fields) if k in known}
    return RunCase(
        **{
            "case": str(uuid.uuid4()),
            "attempt": str(uuid.uuid4()),
            "host": HOST,
            "timeout": 60.0,
            "request_id": "req-test",
            **command,
        },
        plugin=plugin,
        method=method,
        parameters=fields,
    )
