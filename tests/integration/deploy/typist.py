"""Somebody who has new machines and types ``docs/deploy.md`` on them."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.integration.deploy import page
from tests.integration.deploy.machines import Machine
from tests.processes import until

NAMES = ("lab-db", "lab-mq", "lab-api", "lab-api-2", "lab-7", "lab-8", "lab-9")
# The installation takes half a minute and is the same on every machine: it is typed on the first,
# and the others have its folder when their turn comes.
_INSTALLATION = ("python3 -m venv /opt/labapi", "/opt/labapi/bin/pip install")
_SHARED = "mkdir -p /mnt/shared/opt && mount --bind /mnt/shared/opt /opt/labapi\n"
# As Debian's packages leave these; the machine of a developer may have other ones.
_MARIADB = """\
mkdir /etc/mysql/conf.d /etc/mysql/mariadb.conf.d
cat >/etc/mysql/my.cnf <<'END'
[client-server]
socket = /run/mysqld/mysqld.sock
!includedir /etc/mysql/conf.d/
!includedir /etc/mysql/mariadb.conf.d/
END
cat >/etc/mysql/mariadb.conf.d/50-server.cnf <<'END'
[mysqld]
pid-file = /run/mysqld/mysqld.pid
bind-address = 127.0.0.1
END
install -d -o mysql /run/mysqld
mariadb-install-db --user=mysql --auth-root-authentication-method=socket --skip-test-db
"""
_SSH = """\
cp -r /mnt/shared/ssh /root/.ssh
/usr/sbin/sshd -h /root/.ssh/id_ed25519 -o UsePAM=no -o PermitRootLogin=prohibit-password
"""


class Typist:
    """Types the page on its machines.

    :ivar said: what the blocks of each section printed
    """

    def __init__(self, machines: dict[str, Machine], folder: Path) -> None:
        self.machines = machines
        self.blocks = page.read()
        self.said: defaultdict[str, list[str]] = defaultdict(list)
        self._installed = False
        _keys(folder / "shared" / "ssh")
        for machine in machines.values():
            machine.run(_SSH)
        machines["lab-db"].run(_MARIADB)

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def type(self, section: str) -> None:
        """Type what stands below a heading."""
        blocks = [block for block in self.blocks if block.section == section]
        assert blocks, f"the page has no section {section!r} with something to type"
        for block in blocks:
            for name in block.machines:
                self._type(block, self.machines[name])

    def set_up(self) -> None:
        """Type the sections that have a number."""
        for section in dict.fromkeys(b.section for b in self.blocks if b.section[0].isdigit()):
            if "first case" in section:
                self.until_up("lab-7", "lab-8")
            self.type(section)

    def until_up(self, *hosts: str) -> None:
        """Wait until the API shows hosts as up, as whoever types would."""

        def up() -> bool:
            found = [self.host(host) for host in hosts]
            return all(host is not None and host["state"] == "up" for host in found)

        until(up, what=f"agents on {hosts}")

    def host(self, name: str) -> Any:
        """Return what the API says of a host, None if it knows none of that name."""
        found = self.api("/slaves/detail").values()
        return next((host for host in found if host["host"] == name), None)

    def api(self, path: str, *options: str, front: str = "lab-api") -> Any:
        """Ask the API through nginx, as administrator."""
        done = self.curl(path, "--fail-with-body", *options, front=front)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def curl(
        self, path: str, *options: str, front: str = "lab-api", at: str = "lab-api"
    ) -> subprocess.CompletedProcess[str]:
        """Run curl on a machine with the administrator's password."""
        command = "curl -sS --max-time 90 --cacert /etc/labapi/ca.pem --user admin:SECRET-4"
        words = " ".join(options)
        return self.machines[at].type(f"{command} {words} 'https://{front}/v2.1{path}'")

    def run_case(self, host: str, command: str, front: str = "lab-api") -> Any:
        """Run a program on a host and return the case when it is finished."""
        return self.api("/testcases?wait=60", *_case(host, command), front=front)

    def post_case(self, host: str, command: str, front: str = "lab-api") -> str:
        """Let a program run on a host; return the id of its case."""
        return str(self.api("/testcases", *_case(host, command), front=front)["id"])

    def _type(self, block: page.Block, machine: Machine) -> None:
        if block.file is not None:
            how = ">>" if block.added else ">"
            machine.run(f"cat {how}{block.file} <<'END OF FILE'\n{block.text}END OF FILE\n")
            return
        text = block.text
        first = False
        if _INSTALLATION[0] in text:
            machine.run(_SHARED)
            first, self._installed = not self._installed, True
            if not first:
                lines = text.splitlines(keepends=True)
                text = "".join(line for line in lines if not line.startswith(_INSTALLATION))
        self.said[block.section].append(machine.run(text, internet=first))


def _case(host: str, command: str) -> tuple[str, ...]:
    program, _, arguments = command.partition(" ")
    body = {
        "plugin": "linux_system",
        "host": host,
        "method": "run_shell",
        "parameters": {"command": program, "args": arguments},
    }
    return "-H 'Content-Type: application/json'", f"-d {shlex.quote(json.dumps(body))}"


def _keys(folder: Path) -> None:
    """Make what lets root of one machine in at the others."""
    folder.mkdir(mode=0o700)
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = key.with_suffix(".pub").read_text()
    (folder / "authorized_keys").write_text(public)
    (folder / "known_hosts").write_text("".join(f"{name} {public}" for name in NAMES))
