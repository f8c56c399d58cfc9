"""The servers that docs/deploy.md names, each with the whole API behind it."""

from __future__ import annotations

import os
from pathlib import Path

from labapi import config
from labapi.db import migration
from labapi.db.session import Database
from tests.lab import ROOT
from tests.processes import Process, free_port
from tests.programs import BIN

APPLICATION = "labapi.wsgi:application"
NAMES = ("labapi-api", "labapi-all", "gunicorn", "granian", "uWSGI")
OURS = ("labapi-api", "labapi-all")


def start(name: str, folder: Path, **options: object) -> tuple[Process, int]:
    """Start a server and wait until it listens; return it and its port.

    :param options: of ``[api]``
    """
    port = free_port()
    file = folder / "labapi.conf"
    # Nothing here asks the broker; labapi-api wants one of its own all the same.
    broker = "amqp://127.0.0.1:9" if name == "labapi-api" else "memory://"
    api = {"port": port, "workers": 1, "paste_config": ROOT / "etc" / "api-paste.ini", **options}
    file.write_text(
        f"[DEFAULT]\nstate_path = {folder}\n[messaging]\ntransport_url = {broker}\n[api]\n"
        + "".join(f"{option} = {value}\n" for option, value in api.items())
    )
    conf = config.load(["--config-file", str(file)], prog="test", description="")
    database = Database(conf)
    migration.upgrade(database)
    database.close()
    env = {**os.environ, "LABAPI_CONFIG": str(file)}
    return Process(_command(name, port, file), folder / "log", env).listens(port), port


def _command(name: str, port: int, file: Path) -> list[str]:
    program, address = str(BIN / name.lower()), f"127.0.0.1:{port}"
    if name in OURS:
        return [program, "--config-file", str(file)]
    if name == "gunicorn":
        return [program, "--bind", address, "--threads", "4", APPLICATION]
    if name == "granian":
        listen = ["--host", "127.0.0.1", "--port", str(port)]
        return [program, "--interface", "wsgi", *listen, "--blocking-threads", "1", APPLICATION]
    return [
        *(program, "--http", address, "--http-keepalive=75", "--module", APPLICATION),
        *("--master", "--enable-threads", "--lazy-apps", "--disable-logging", "--die-on-term"),
    ]
