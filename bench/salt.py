"""Salt's master, one minion and HTTP API, all in one folder and on loopback, for comparison.

It is what labs use that want a command run on their machines over HTTP. Beside addresses, ports and
who may call, everything is as it comes.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.environments import programs
from bench.processes import Server
from tests.programs import free_port

MINION = "lab-1"
# With the 5 s that Salt waits by itself, some callers may get "No response" when 32 ask at once.
CASE = {"client": "local", "tgt": MINION, "fun": "cmd.run_all", "arg": "true", "timeout": 30}
DONE = '"retcode": 0'  # in the answer, if it has been run

_USER = "bench"
_TIMEOUT = 30.0  # seconds


class Salt:
    """A master with salt-api, and a minion whose key it accepts.

    :param folder: for their files; sockets are there, so its path has to be short
    :ivar port: of salt-api
    :ivar token: what salt-api knows the caller by, once it runs
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bin = programs("salt")
        self._secret = secrets.token_hex()
        self.port = free_port()
        self.token = ""
        publish_port, return_port = free_port(), free_port()
        self._write(
            "master",
            interface="127.0.0.1",
            publish_port=publish_port,
            ret_port=return_port,
            auto_accept=True,
            sharedsecret=self._secret,
            external_auth={"sharedsecret": {_USER: [".*"]}},
            netapi_enable_clients=["local"],
            rest_cherrypy={"host": "127.0.0.1", "port": self.port, "disable_ssl": True},
        )
        self._write(
            "minion",
            id=MINION,
            master="127.0.0.1",
            publish_port=publish_port,
            master_port=return_port,
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[tuple[Server, ...]]:
        """Lend its programs, which run cases of who has the token.

        :raises RuntimeError: they do not in time
        """
        with contextlib.ExitStack() as stack:
            servers = []
            for name, folder in (("master", "master"), ("minion", "minion"), ("api", "master")):
                argv = [str(self._bin / f"salt-{name}"), "--config-dir", str(self._folder / folder)]
                log = self._folder / f"salt-{name}.log"
                servers.append(stack.enter_context(Server(argv, log)))
            servers[-1].until(self._runs, what="Salt's first case")
            yield tuple(servers)

    def _write(self, program: str, **options: Any) -> None:
        """Write the configuration of the master or the minion."""
        folder = self._folder / program
        folder.mkdir(parents=True)
        options |= {"root_dir": str(folder), "ipv6": False}
        (folder / program).write_text(json.dumps(options))  # JSON is YAML

    def _runs(self) -> bool:
        with contextlib.suppress(OSError):  # 503 until the master is there, for instance
            if not self.token:
                who = {"eauth": "sharedsecret", "username": _USER, "password": self._secret}
                self.token = self._post("/login", who)["return"][0]["token"]
            return DONE in json.dumps(self._post("/", CASE))
        return False

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "X-Auth-Token": self.token},
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            return json.load(answer)
