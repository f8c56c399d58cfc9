"""Machines that share this one's kernel and programs, and nothing else: namespaces."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.lab import ROOT
from tests.middleware.servers import required
from tests.processes import Process, until

HERE = Path(__file__).parent
NETWORK = "192.0.2"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
APT = 'APT::Get::Upgrade "false";\nDir::State::Lists "/run/none";\n'
BASH = ("-euo", "pipefail", "-c")
TIMEOUT = 900.0  # seconds for what is typed; an installation on a busy machine takes minutes
# What is left of a test that was killed ends with it.
MORTAL = ("setpriv", "--pdeathsig", "KILL", "unshare")
SPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child")


def missing() -> str | None:
    """Say why there can be no machines here, or return None.

    The first try is the namespaces alone: where these can be made, all else has to work.
    """
    if os.geteuid() != 0:
        return "namespaces need root"
    probe = subprocess.run(
        [*MORTAL, *SPACES, "sh", "-c", "mount -t tmpfs tmpfs /mnt && ip link add type bridge"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return probe.stderr.strip() or "namespaces cannot be made" if probe.returncode else None


class Switch:
    """The network between the machines, in a namespace of its own."""

    def __init__(self, folder: Path) -> None:
        self._process = Process([*MORTAL, "--net", "sleep", "infinity"], folder / "switch.log")
        until(lambda: _namespace(self._process.pid, "net") != _namespace(os.getpid(), "net"))
        self._ip("link", "add", "switch", "type", "bridge")
        self._ip("link", "set", "switch", "up")
        self._ports = 0

    def plug(self, machine: Machine) -> None:
        """Connect a machine."""
        self._ports += 1
        port = f"port{self._ports}"
        peer = ("peer", "name", "eth0", "netns", str(machine.pid))
        self._ip("link", "add", port, "type", "veth", *peer)
        self._ip("link", "set", port, "master", "switch", "up")

    def stop(self) -> None:
        """End it."""
        self._process.kill()

    def _ip(self, *arguments: str) -> None:
        command = ["nsenter", "-t", str(self._process.pid), "-n", "ip", *arguments]
        subprocess.run(command, check=True, timeout=60)


class Machine:
    """A machine of the lab; it has a checkout of the project in ``/root/labapi``.

    :param folder: of this machine
    :param shared: has ``systemctl``
    """

    def __init__(self, name: str, address: str, folder: Path, shared: Path) -> None:
        self.name = name
        self.address = address
        folder.mkdir()
        self._process = Process(
            [*MORTAL, *SPACES, HERE / "boot.sh", folder, name, shared, ROOT],
            folder.with_suffix(".log"),
            {"PATH": PATH},
        )
        # The first process is the child of unshare, and has become a machine when it has a door.
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self.pid = int(self._process.until(lambda: children.read_text().split())[0])
        self._process.until(Path(f"/proc/{self.pid}/root/run/systemctl").exists)

    def connect(self, switch: Switch, names: str) -> None:
        """Connect it to the network, with names that it knows."""
        switch.plug(self)
        self.run(
            f"ip address add {self.address}/24 dev eth0 && ip link set eth0 up\n"
            # What is installed here already will do, and there is nothing else to have.
            f"cat >/etc/apt/apt.conf.d/99-test <<'END'\n{APT}END\n"
            "ln -s /mnt/shared/systemctl /usr/local/bin/systemctl\n"
            f"cat >>/etc/hosts <<'END'\n{names}END\n"
        )

    def type(self, text: str, *, internet: bool = False) -> subprocess.CompletedProcess[str]:
        """Type lines into a shell of root's there, which ends at the first that fails.

        :param internet: use the network of the test's machine instead of the machine's own
        """
        spaces = ["-m", "-u", "-i", "-p", *([] if internet else ["-n"])]
        outside = {k: v for k, v in os.environ.items() if k.startswith("PIP_") or "proxy" in k}
        return subprocess.run(
            ["nsenter", "-t", str(self.pid), *spaces, "bash", *BASH, f"cd\n{text}"],
            env={**(outside if internet else {}), "PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    def run(self, text: str, *, internet: bool = False) -> str:
        """Type lines that must succeed, and return what they print."""
        done = self.type(text, internet=internet)
        said = f"on {self.name}: {text}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"{said}\nstatus {done.returncode}"
        return done.stdout

    def stop(self) -> None:
        """End it with all that runs there."""
        self._process.kill()


@contextlib.contextmanager
def machines(folder: Path, names: Sequence[str]) -> Iterator[dict[str, Machine]]:
    """Run machines, which know each other's names and let root of each other in; else skip."""
    if why := missing():
        if required() and os.geteuid() == 0 and "not permitted" not in why:
            pytest.fail(why)
        pytest.skip(f"docs/deploy.md was not typed: {why}")
    shared = folder / "shared"
    shared.mkdir()
    shutil.copy(HERE / "init.py", shared / "systemctl")
    with contextlib.ExitStack() as stack:
        switch = Switch(folder)
        stack.callback(switch.stop)
        made: dict[str, Machine] = {}
        for number, name in enumerate(names, 11):
            made[name] = Machine(name, f"{NETWORK}.{number}", folder / name, shared)
            stack.callback(made[name].stop)
        hosts = "".join(f"{machine.address} {name}\n" for name, machine in made.items())
        for machine in made.values():
            machine.connect(switch, hosts)
        yield made


def _namespace(pid: int, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")
