"""sshd lets in who has leased the host, for as long as that, whatever becomes of the agent."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.lab import HOST, Lab, RabbitMQ, ask, until
from tests.processes import Process, free_port
from tests.programs import Program

SHORT = 8.0  # seconds that the last lease lasts: longer than it takes to kill the agent

SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/lease_keys
AuthenticationMethods publickey
PidFile none
UsePAM no
"""
AGENT = """
[DEFAULT]
state_path = {folder}/agent
[messaging]
transport_url = {broker}
[agent]
host = {host}
trusted_keys = {folder}/conductor.key.pub
plugins = linux_system
heartbeat_interval = 0.2
lease_keys_file = {folder}/lease_keys
"""
SSH = (
    *("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"),
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
)


class Leased(NamedTuple):
    """A lab whose host has an sshd."""

    lab: Lab
    agent: Program
    folder: Path
    port: int

    @property
    def file(self) -> str:
        """What sshd reads."""
        return (self.folder / "lease_keys").read_text()

    def lets_in(self) -> bool:
        """Say whether the owner of the key can log in."""
        way = ("-p", str(self.port), "-i", f"{self.folder}/mine", "root@127.0.0.1", "echo", "in")
        done = subprocess.run(
            [*SSH, *way], capture_output=True, text=True, timeout=60, check=False, env={}
        )
        assert done.stdout == "in\n" or "Permission denied (publickey)" in done.stderr, done
        return done.stdout == "in\n"

    def lease(self, seconds: float) -> str:
        """Lease the host with the key, and wait until that is there."""
        keys = [(self.folder / "mine.pub").read_text().strip()]
        made = ask(self.lab.app, "/leases", {"hosts": [HOST], "seconds": seconds, "keys": keys})
        assert made.status_code == 201, made.text
        found: Any = made.json["id"]
        until(lambda: found in self.file)
        return str(found)


@pytest.fixture
def leased(rabbitmq: RabbitMQ) -> Iterator[Leased]:
    if os.geteuid():
        pytest.skip("sshd lets others log in only as root")
    # sshd wants a folder that nobody else can write to, nor to one above it.
    folder = Path(tempfile.mkdtemp(prefix="labapi-ssh-", dir="/run"))
    for name in ("host", "mine"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make, check=True, timeout=60)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = free_port()
    (folder / "sshd.conf").write_text(SSHD.format(folder=folder, port=port))
    (folder / "agent.conf").write_text(AGENT.format(folder=folder, broker=rabbitmq.url, host=HOST))
    sshd = Process(["/usr/sbin/sshd", "-D", "-e", "-f", folder / "sshd.conf"], folder / "sshd.log")
    lab = Lab(folder, messaging__transport_url=rabbitmq.url).start(agent=False)
    config = str(folder / "agent.conf")
    agent = Program("labapi-agent", "--config-file", config, log=folder / "agent.log")
    try:
        sshd.listens(port)
        until(lambda: ask(lab.app, f"/slaves/{HOST}").status_code == 200)
        yield Leased(lab, agent, folder, port)
    finally:
        agent.kill()
        sshd.kill()
        lab.stop()
        shutil.rmtree(folder)


def test_ssh_lets_in_as_long_as_the_lease_lasts(leased: Leased) -> None:
    assert not leased.lets_in()
    first = leased.lease(600)
    assert leased.lets_in()
    assert ask(leased.lab.app, f"/leases/{first}", method="DELETE").status_code == 204
    until(lambda: first not in leased.file)
    assert not leased.lets_in()
    second = leased.lease(SHORT)
    leased.agent.kill()  # nobody is left who could take the key out
    until(lambda: not leased.lets_in())
    assert second in leased.file
