"""The lab under test: two APIs, two conductors, four agents, their servers, proxies between them.

Each program reaches each of its servers through a proxy of its own, so that one can be cut off.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import requests

from labapi.rpc import signing
from tests.chaos import moves
from tests.chaos.replay import Recorder
from tests.chaos.servers import MariaDBServer, RabbitMQServer, Server
from tests.lab import ROOT
from tests.processes import lives, until
from tests.programs import BIN, free_port, run
from tests.proxy import Proxy

HOSTS = ("chaos-1", "chaos-2", "chaos-3", "chaos-4")
DOWN_TIME = 8.0
LOST_AFTER = 20.0
SLOTS = 2
AHEAD = 1
MAX_LEASE = 60.0  # also the longest time for which one waits
PROJECTS = ("noauth", "guest")

CONFIG = """
[DEFAULT]
state_path = {state}
[api]
default_timeout = 15
port = {port}
workers = 1
paste_config = {paste}
stop_timeout = 2
[database]
connection = {database}
timeout = 3
[messaging]
transport_url = {broker}
connect_timeout = 3
confirm_timeout = 5
heartbeat = 4
retry_interval_max = 2
[conductor]
host = {name}
signing_key = {key}
service_down_time = {down_time}
lost_after = {lost_after}
sweep_interval = 0.5
resend_interval = 4
report_timeout = 15
queue_timeout = 3600
[scheduler]
dispatch_ahead = {ahead}
refresh_interval = 1
health_faults = 1000
max_lease = {max_lease}
[agent]
host = {name}
trusted_keys = {key}.pub
heartbeat_interval = 1
kill_grace = 1
slots = {slots}
plugins = linux_system
lease_keys_file = {state}/lease-keys
"""


class Program(Server):
    """A program of labapi.

    :param alone: kill the process alone and not its group: what it started must be found and
        ended by the program that takes its place
    :ivar clock: a file with the seconds by which its wall clock is wrong
    """

    def __init__(self, folder: Path, binary: str, name: str, config: str, *, alone: bool) -> None:
        super().__init__(folder)
        self.name = name
        self.clock = folder / f"{name}.clock"
        self.clock.write_text("0")
        self.binary = binary
        self.alone = alone
        self.config = folder / f"{name}.conf"
        self.config.write_text(config)

    def command(self) -> list[str]:
        options = ["--config-file", str(self.config)]
        if self.binary == "labapi-agent":
            clocked = ["-m", "tests.chaos.clocked_agent", str(self.clock)]
            return [sys.executable, *clocked, *options]
        return [str(BIN / self.binary), *options]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "PYTHONPATH": str(ROOT)}

    def answers(self) -> bool:
        return self.process is not None and self.process.runs

    def signal(self, number: int) -> None:
        if not self.alone:
            super().signal(number)
        elif self.process is not None:
            self.process.process.send_signal(number)

    def leave(self) -> int:
        """Ask it to stop, and return its exit status."""
        assert self.process is not None
        return self.process.stop(timeout=120)


class ChaosLab:
    """Everything in one folder; ``start`` starts it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="labapi-chaos-"))
        self.folder.chmod(0o755)
        self.cases = self.folder / "cases"
        self.cases.mkdir()
        self.mariadb = MariaDBServer(self.folder)
        self.rabbitmq = RabbitMQServer(self.folder)
        self.recorder = Recorder(self.rabbitmq.url)
        self.proxies: list[Proxy] = []
        self.key = self.folder / "conductor.key"
        signing.create_key(self.key, self.folder / "conductor.key.pub")
        self.paste = self.folder / "api-paste.ini"
        self.paste.write_text(_two_projects((ROOT / "etc" / "api-paste.ini").read_text()))
        self.ports = [free_port(), free_port()]
        self.urls = [f"http://127.0.0.1:{port}/v2.1" for port in self.ports]
        self.apis = [
            self._program("labapi-api", f"api-{n}", port, alone=False)
            for n, port in enumerate(self.ports, 1)
        ]
        self.conductors = [
            self._program("labapi-conductor", f"conductor-{n}", 0, alone=True) for n in (1, 2)
        ]
        self.agents = [self._program("labapi-agent", name, 0, alone=True) for name in HOSTS]

    @property
    def programs(self) -> list[Program]:
        """All programs of labapi."""
        return [*self.apis, *self.conductors, *self.agents]

    def urls_of(self, project: str) -> list[str]:
        """Return the URLs at which everybody is a user of this project."""
        way = "" if project == PROJECTS[0] else f"/{project}"
        return [url.replace("/v2.1", f"{way}/v2.1") for url in self.urls]

    def start(self) -> None:
        """Start servers and programs and wait until all hosts are known."""
        self.mariadb.start()
        self.rabbitmq.start()
        upgraded = run("labapi-manage", "--config-file", str(self.apis[0].config), "db", "upgrade")
        assert upgraded.returncode == 0, upgraded.stderr
        moves.record(self.mariadb)
        for program in self.programs:
            program.start()
        until(lambda: self._hosts_up() == len(HOSTS), 180, "the announcement of all hosts")
        self.recorder.start()

    def stop(self, *, keep: bool = False) -> None:
        """End everything, however it is."""
        if self.recorder.is_alive():
            self.recorder.stop()
        for proxy in self.proxies:
            proxy.close()
        for server in (*self.programs, self.rabbitmq, self.mariadb):
            if server.process is not None:
                server.signal(signal.SIGCONT)
                server.signal(signal.SIGKILL)
                server.process.kill()
        for name in HOSTS:
            subprocess.run(["umount", "-l", self.state_of(name)], check=False, capture_output=True)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def state_of(self, name: str) -> Path:
        """Return a program's state folder."""
        return self.folder / f"state-{name}"

    def journal_of(self, name: str) -> Path:
        """Return an agent's journal."""
        return self.state_of(name) / f"agent-{name}" / "journal.sqlite"

    def let_in(self) -> list[str]:
        """Return the hosts whose agents let somebody in with ssh keys."""
        files = {name: self.state_of(name) / "lease-keys" for name in HOSTS}
        return [name for name, file in files.items() if " lease-" in file.read_text()]

    def remains(self) -> list[str]:
        """Return the command lines of processes that belong to cases of this lab."""
        found = []
        wanted = f"LABAPI_CHAOS={self.folder}".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if wanted in (entry / "environ").read_bytes():
                        command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                        if lives(entry.name):
                            found.append(f"{entry.name} {command}")
        return found

    def _hosts_up(self) -> int:
        try:
            slaves = requests.get(f"{self.urls[0]}/slaves/detail", timeout=30).json()
        except (OSError, ValueError):
            return 0
        return sum(slave.get("state") == "up" for slave in slaves.values())  # or a fault

    def _through(self, name: str, server: MariaDBServer | RabbitMQServer) -> str:
        proxy = Proxy(server.port, f"{name} to {server.name}")
        self.proxies.append(proxy)
        return server.url.replace(f":{server.port}/", f":{proxy.port}/")

    def _program(self, binary: str, name: str, port: int, *, alone: bool) -> Program:
        state = self.state_of(name)
        state.mkdir()
        if binary == "labapi-agent" and os.geteuid() == 0:
            # A file system of its own, so that it can be full.
            size = "size=16m,mode=700"
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(state)],
                check=False,
                capture_output=True,
            )
        config = CONFIG.format(
            state=state,
            port=port or 8774,
            paste=self.paste,
            max_lease=MAX_LEASE,
            database=self._through(name, self.mariadb),
            broker=self._through(name, self.rabbitmq),
            down_time=DOWN_TIME,
            lost_after=LOST_AFTER,
            name=name,
            key=self.key,
            slots=SLOTS,
            ahead=AHEAD,
        )
        return Program(self.folder, binary, name, config, alone=alone)


def _two_projects(paste: str) -> str:
    """Return a Paste file in which other URLs lead to the same API as another project."""
    _, guest = PROJECTS
    found = re.search(r"^\[pipeline:v2\.1\]\n(?:.+\n)+", paste, re.MULTILINE)
    assert found is not None
    pipeline = found[0].replace(":v2.1]", f":{guest}]").replace(" noauth\n", f" noauth_{guest}\n")
    identity = f"use = egg:labapi-middleware#noauth\nproject_id = {guest}\n"
    mounted = paste.replace("/v2.1 = v2.1\n", f"/v2.1 = v2.1\n/{guest}/v2.1 = {guest}\n")
    return f"{mounted}\n{pipeline}\n[filter:noauth_{guest}]\n{identity}"
