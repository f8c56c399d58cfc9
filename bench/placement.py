"""OpenStack's placement with a database of its own, for comparison.

The service closest to this one: a small WSGI application over one SQL database, from the same
libraries (oslo, SQLAlchemy, Routes, WebOb).
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import uuid
from pathlib import Path

from bench import uwsgi
from bench.environments import programs
from bench.processes import Server
from tests.programs import free_port

HEADERS = ("X-Auth-Token: admin", "OpenStack-API-Version: placement 1.39")
_APPLICATION = "placement.wsgi.api:application"


class Placement:
    """Placement under uWSGI, which is how it is documented and deployed.

    :param folder: for its files
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._bin = programs("placement")
        self.port = free_port()
        (folder / "placement.conf").write_text(
            f"[api]\nauth_strategy = noauth2\n"
            f"[placement_database]\nconnection = sqlite:///{folder}/placement.sqlite\n"
        )
        self._env = {"OS_PLACEMENT_CONFIG_DIR": str(folder)}
        subprocess.run(
            [str(self._bin / "placement-manage"), "--config-dir", str(folder), "db", "sync"],
            check=True,
            capture_output=True,
        )

    def start(self) -> Server:
        """Start one process and wait until it takes requests."""
        argv = uwsgi.command(self._bin, self.port, _APPLICATION)
        log = self._folder / "placement.log"
        return Server(argv, log, self._env).listens(self.port)

    def add_providers(self, first: int, last: int) -> str:
        """Add the resource providers of these numbers; return the UUID of the last one.

        Straight into its database: over HTTP 10,000 of them take minutes.
        """
        rows = [(number, str(uuid.uuid4())) for number in range(first, last + 1)]
        with contextlib.closing(sqlite3.connect(self._folder / "placement.sqlite")) as database:
            database.executemany(
                "INSERT INTO resource_providers (id, uuid, name, generation, root_provider_id)"
                " VALUES (?, ?, ?, 0, ?)",
                [(number, name, f"bench-{number}", number) for number, name in rows],
            )
            database.commit()
        return rows[-1][1]
