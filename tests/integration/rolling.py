"""A lab of separate programs, each of which can be replaced by that of another release."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labapi.rpc import signing
from labapi_client import connect
from labapi_client.exceptions import ConnectionFailed, Fault, LabError
from labapi_client.lab import Lab
from labapi_client.managers.testcases import Case
from tests.lab import ROOT
from tests.processes import Process, free_port, until
from tests.programs import BIN

HOSTS = ("lab-1", "lab-2", "lab-3")
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
PAUSE = 0.5  # seconds between two cases of a client
PATIENCE = 180.0  # seconds for which a client goes on trying to post a case
SCRIPT = "echo begun; sleep 0.5; echo done"

_CONFIG = """
[DEFAULT]
state_path = {folder}/state-{name}
[api]
port = {port}
workers = 1
paste_config = {paste}
stop_timeout = 5
[database]
connection = {database}
[messaging]
transport_url = {broker}
[conductor]
host = {name}
signing_key = {folder}/conductor.key
sweep_interval = 0.5
[agent]
host = {name}
address = {address}
trusted_keys = {folder}/conductor.key.pub
heartbeat_interval = 0.5
drain_timeout = 30
slots = 4
plugins = linux_system, http
"""


@dataclass(frozen=True, slots=True)
class Release:
    """Programs of one release.

    :ivar name: of its logs
    :ivar before: what comes before the name of a program and its arguments
    :ivar env: of the programs, beside that of the test
    :ivar greets: a program says in its log that it works
    """

    name: str
    before: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    greets: bool = True

    def start(self, program: str, config: Path, *args: str) -> Process:
        """Start a program."""
        command = [*self.before, program] if self.before else [str(BIN / program)]
        # Each start has a log of its own: what the one before said counts for nothing.
        logs = (config.with_name(f"{config.stem}-{self.name}-{n}.log") for n in itertools.count())
        log = next(path for path in logs if not path.exists())
        env = {**os.environ, **self.env}
        return Process([*command, "--config-file", str(config), *args], log, env)


NOW = Release("now")
# The same with what another release might add: see next_release.py.
NEXT = Release(
    "next", (sys.executable, "-m", "tests.integration.next_release"), {"PYTHONPATH": str(ROOT)}
)


class Program:
    """One of the lab's programs, of whichever release.

    :param port: on which it listens, None if on none
    """

    def __init__(self, binary: str, config: Path, port: int | None) -> None:
        self.name = config.stem
        self.config = config
        self._binary = binary
        self._port = port
        self.process: Process | None = None

    def start(self, release: Release) -> None:
        """Start it, and wait until it works."""
        self.process = release.start(self._binary, self.config)
        if self._port is not None:
            self.process.listens(self._port)
        elif release.greets:
            self.process.says(f" {self._binary} ")

    def stop(self) -> None:
        """Stop it as systemd does."""
        assert self.process is not None
        status = self.process.stop(timeout=180)
        assert status == 0, (self.name, status, self.process.output()[-2000:])

    def replace(self, release: Release) -> None:
        """Stop it, and start that of another release."""
        self.stop()
        self.start(release)


class RollingLab:
    """APIs, conductors and agents.

    :param database: URL
    :param broker: URL
    :param doors: how many APIs there are, and how many conductors
    :param hosts: where there are agents
    """

    def __init__(
        self,
        folder: Path,
        database: str,
        broker: str,
        *,
        doors: int = 2,
        hosts: Sequence[str] = HOSTS,
    ) -> None:
        self.folder = folder
        self.hosts = hosts
        key = folder / "conductor.key"
        signing.create_key(key, folder / "conductor.key.pub")
        ports = [free_port() for _ in range(doors)]

        def program(binary: str, name: str, port: int | None = None) -> Program:
            config = folder / f"{name}.conf"
            paste = ROOT / "etc" / "api-paste.ini"
            config.write_text(
                _CONFIG.format(
                    folder=folder,
                    name=name,
                    address=dict(zip(HOSTS, ADDRESSES, strict=True)).get(name, ADDRESSES[0]),
                    port=port or 8774,
                    paste=paste,
                    database=database,
                    broker=broker,
                )
            )
            return Program(binary, config, port)

        self.urls = [f"http://127.0.0.1:{port}/v2.1" for port in ports]
        self.apis = [
            program("labapi-api", f"api-{number}", port) for number, port in enumerate(ports, 1)
        ]
        self.conductors = [
            program("labapi-conductor", f"conductor-{n}") for n in range(1, doors + 1)
        ]
        self.agents = [program("labapi-agent", host) for host in hosts]

    @property
    def programs(self) -> list[Program]:
        """All programs, in the order in which they are upgraded."""
        return [*self.conductors, *self.apis, *self.agents]

    def upgrade(self, release: Release) -> str:
        """Upgrade the database; return what was said."""
        done = release.start("labapi-manage", self.apis[0].config, "db", "upgrade")
        assert done.process.wait(120) == 0, done.output()
        return done.output()

    def start(self, release: Release) -> None:
        """Start all programs of a release, and wait until all hosts are up."""
        self.upgrade(release)
        for program in self.programs:
            program.start(release)
        until(lambda: all(self.is_up(host) for host in self.hosts), what="the hosts")

    def is_up(self, host: str) -> bool:
        """Say whether a host is up."""
        with connect(self.urls[0]) as lab:
            return any(s.host == host and s.state == "up" for s in lab.slaves.list())

    def stop(self) -> None:
        """End everything, however it is."""
        for program in self.programs:
            if program.process is not None:
                program.process.kill()


class Traffic(threading.Thread):
    """A client that posts cases all the time, to whichever API takes them.

    :param hosts: where its cases are to run, in turn; None for any
    :ivar made: the UUIDs of its cases
    :ivar refused: what a retry did not get through
    :ivar retried: how often it had to be tried again
    """

    def __init__(self, urls: Sequence[str], hosts: Sequence[str | None]) -> None:
        super().__init__(daemon=True)
        self._labs = itertools.cycle([connect(url) for url in urls])
        self._hosts = itertools.cycle(hosts)
        self._enough = threading.Event()
        self.made: list[str] = []
        self.refused: list[str] = []
        self.retried = 0

    def run(self) -> None:
        """Post until it is enough."""
        while not self._enough.wait(PAUSE):
            self._post(next(self._hosts), uuid.uuid4().hex)

    def stop(self) -> list[str]:
        """Post no more; return the UUIDs of the cases."""
        self._enough.set()
        self.join(2 * PATIENCE)
        assert not self.is_alive()
        return self.made

    def _post(self, host: str | None, key: str) -> None:
        deadline = time.monotonic() + PATIENCE
        parameters = {"command": "sh", "args": ["-c", SCRIPT]}
        while True:
            try:
                case = self._lab().testcases.create(
                    "linux_system", "run_shell", host, parameters, idempotency_key=key
                )
            except LabError as error:
                if not _passes(error) or time.monotonic() > deadline:
                    self.refused.append(str(error))
                    return
                self.retried += 1
                time.sleep(0.2)
            else:
                self.made.append(case.id)
                return

    def _lab(self) -> Lab:
        return next(self._labs)


def ended(url: str, case: str) -> Case:
    """Wait for the end of a case, and return it."""
    with connect(url) as lab:
        return lab.testcases.wait(case, timeout=PATIENCE)


def _passes(error: LabError) -> bool:
    if isinstance(error, Fault):
        return error.code in (429, 502, 503, 504)
    return isinstance(error, ConnectionFailed)
