"""What a command line costs from its start to its end: ``lab``, ``curl`` and ``openstack lab``.

    python -m bench.run [--quick] start

Each asks the same lab for its hosts, one after the other in each round, without any identity. The
clients are installed as their users install them, into an environment of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.environments import programs
from bench.processes import Server
from bench.report import Samples, table
from tests.processes import free_port, until

ROUNDS, QUICK_ROUNDS = 15, 5
TIMEOUT = 120.0  # seconds


@dataclass
class Started:
    """A program that is started again and again.

    :ivar wall: milliseconds from its start to its end
    :ivar cpu: milliseconds of CPU that it used
    """

    name: str
    argv: list[str]
    wall: Samples = field(default_factory=lambda: Samples(0))
    cpu: Samples = field(default_factory=lambda: Samples(0))

    def run(self, env: dict[str, str], *, count: bool = True) -> None:
        """Run it once."""
        begin = time.perf_counter()
        child = subprocess.Popen(self.argv, env=env, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        took = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError(f"{self.name}: exit status {child.returncode}")
        if count:
            self.wall.add(took * 1000)
            self.cpu.add((used.ru_utime + used.ru_stime) * 1000)


def measure(*, quick: bool) -> str:
    """Return the table."""
    bin_folder = programs("client")
    with tempfile.TemporaryDirectory(prefix="labapi-bench-") as name:
        folder, port = Path(name), free_port()
        url = f"http://127.0.0.1:{port}"
        serve = [str(Path(sys.executable).parent / "labapi-all"), "--api-port", str(port)]
        with Server([*serve, "--state-path", str(folder / "lab")], folder / "log"):
            slaves = f"{url}/v2.1/slaves/detail"
            until(lambda: _answers(slaves), TIMEOUT, "a lab with a host")
            compared = _compared(bin_folder, url, slaves)
            env = {"PATH": os.environ["PATH"], "HOME": str(folder), "LABAPI_URL": url}
            for each in compared:  # caches of the clients and of the system
                each.run(env, count=False)
            for _ in range(QUICK_ROUNDS if quick else ROUNDS):
                for each in compared:
                    each.run(env)
    lab = compared[0]
    rows = [(e.name, e.wall, e.cpu, lab.wall.over(e.wall), lab.cpu.over(e.cpu)) for e in compared]
    return table(("until its end", "ms", "ms of CPU", "lab : this", "CPU, lab : this"), rows)


def _compared(bin_folder: Path, url: str, slaves: str) -> list[Started]:
    python, lab, openstack = (str(bin_folder / name) for name in ("python", "lab", "openstack"))
    nobody = [openstack, "--os-auth-type", "none", "--os-endpoint", url]
    return [
        Started("`lab slave list`", [lab, "slave", "list"]),
        Started("`curl …/v2.1/slaves/detail`", ["curl", "-sS", slaves]),
        Started("`openstack lab slave list`", [*nobody, "lab", "slave", "list"]),
        Started("`openstack --version`", [openstack, "--version"]),
        Started("`python -c pass`", [python, "-c", "pass"]),
    ]


def _answers(url: str) -> bool:
    done = subprocess.run(["curl", "-sS", url], capture_output=True, text=True, check=False)
    return done.stdout.strip() not in ("", "{}")
