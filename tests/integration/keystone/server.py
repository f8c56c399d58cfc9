"""A Keystone on loopback: SQLite, fernet tokens, a folder and a port of its own."""

from __future__ import annotations

import getpass
import grp
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import requests

from tests.integration.keystone.install import environment
from tests.processes import Process, free_port

TIMEOUT = 180.0
ADMIN_PASSWORD = "adminpw"

_CONF = """\
[DEFAULT]
log_file = {folder}/keystone.log
public_endpoint = {root}
max_token_size = 255
[database]
connection = sqlite:///{folder}/keystone.db
[token]
provider = fernet
expiration = {expiration}
[fernet_tokens]
key_repository = {folder}/fernet-keys
[fernet_receipts]
key_repository = {folder}/fernet-receipts
[credential]
key_repository = {folder}/credential-keys
[oslo_policy]
enforce_scope = true
[identity]
password_hash_rounds = 4
"""
_GUNICORN = """\
wsgi_app = "keystone.wsgi.api:application"
bind = "127.0.0.1:{port}"
worker_class = "gthread"
threads = 4
errorlog = "{folder}/gunicorn.log"
control_socket_disable = True
"""


class Keystone:
    """One server process on a folder; several may share the folder, and so tokens and users.

    :param folder: for the database, the keys and the log
    :param expiration: seconds that a token lives that this server issues
    """

    def __init__(self, folder: Path, expiration: int = 3600) -> None:
        self.bin = environment()
        self.shared = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v3"
        self.etc = folder / f"etc-{self.port}"
        self.etc.mkdir(mode=0o700)
        root = self.url.removesuffix("/v3")
        conf = _CONF.format(folder=folder, root=root, expiration=expiration)
        (self.etc / "keystone.conf").write_text(conf)
        settings = _GUNICORN.format(folder=self.etc, port=self.port)
        (self.etc / "gunicorn.conf.py").write_text(settings)
        self.process: Process | None = None

    def bootstrap(self) -> None:
        """Make the database, the keys and the administrator."""
        user = getpass.getuser()
        owner = ("--keystone-user", user, "--keystone-group", grp.getgrgid(os.getgid()).gr_name)
        self._manage("db_sync")
        for name in ("fernet", "credential"):
            self._manage(f"{name}_setup", *owner)
        self._manage(
            *("bootstrap", "--bootstrap-password", ADMIN_PASSWORD, "--bootstrap-region-id", "lab"),
            *(f"--bootstrap-{kind}-url={self.url}" for kind in ("public", "internal", "admin")),
        )

    def _manage(self, *args: str) -> None:
        command = [self.bin / "keystone-manage", "--config-file", self.etc / "keystone.conf"]
        subprocess.run([*command, *args], check=True, timeout=TIMEOUT * 2, capture_output=True)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        # Keystone's WSGI module parses sys.argv, so gunicorn must not have options there.
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OS_")},
            "OS_KEYSTONE_CONFIG_DIR": str(self.etc),
            "OS_KEYSTONE_CONFIG_FILES": "keystone.conf",
            "GUNICORN_CMD_ARGS": f"-c {self.etc}/gunicorn.conf.py",
        }
        self.process = Process([self.bin / "gunicorn"], self.etc / "output.log", env)
        self.process.until(self._answers, TIMEOUT, f"an answer of Keystone (log in {self.etc})")

    def _answers(self) -> bool:
        try:
            return requests.get(self.url, timeout=30).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def stop(self) -> None:
        """Stop the server."""
        if self.process is not None:
            self.process.send(signal.SIGCONT)
            self.process.stop(timeout=TIMEOUT)
            self.process = None

    def freeze(self) -> None:
        """Have it accept connections and answer none, until it is stopped."""
        assert self.process is not None
        self.process.send(signal.SIGSTOP)

    # What an administrator does

    def token(self, user: str, password: str, project: str) -> str:
        """Log in."""
        domain = {"id": "default"}
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "password": password, "domain": domain}},
                },
                "scope": {"project": {"name": project, "domain": domain}},
            }
        }
        answer = requests.post(f"{self.url}/auth/tokens", json=body, timeout=TIMEOUT)
        answer.raise_for_status()
        return answer.headers["X-Subject-Token"]

    def admin(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send a request as administrator and return what is in the answer."""
        token = self.token("admin", ADMIN_PASSWORD, "admin")
        answer = requests.request(
            *(method, f"{self.url}{path}"),
            json=body,
            headers={"X-Auth-Token": token, **headers},
            timeout=TIMEOUT,
        )
        answer.raise_for_status()
        return next(iter(answer.json().values())) if answer.content else None

    def grant(self, user: str, project: str, role: str) -> None:
        """Give a user, whose password is ``<name>pw``, a role in a project; make all three."""
        ids = [
            self._made("projects", {"name": project, "domain_id": "default"}),
            self._made("users", {"name": user, "password": f"{user}pw", "domain_id": "default"}),
            self._made("roles", {"name": role}),
        ]
        self.admin("PUT", "/projects/{}/users/{}/roles/{}".format(*ids))

    def _made(self, kind: str, wanted: dict[str, str]) -> str:
        found = self.admin("GET", f"/{kind}?name={wanted['name']}")
        listed = found if isinstance(found, list) else []
        one = listed[0] if listed else self.admin("POST", f"/{kind}", {kind[:-1]: wanted})
        return str(one["id"])

    def revoke(self, token: str) -> None:
        """Take a token back."""
        self.admin("DELETE", "/auth/tokens", **{"X-Subject-Token": token})
