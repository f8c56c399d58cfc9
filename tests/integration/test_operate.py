"""What docs/operate.md has operators type, typed as it stands while a lab runs."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labapi import config, logs
from tests.lab import HOST, ROOT, Lab, MariaDB, ask, until
from tests.middleware.servers import installed
from tests.programs import BIN

PAGE = (ROOT / "docs" / "operate.md").read_text()


def section(title: str, kind: str) -> str:
    """Return the only block of this kind in a section."""
    text = re.split(r"^#+ ", PAGE, flags=re.M)
    (found,) = (part for part in text if part.startswith(f"{title}\n"))
    (block,) = re.findall(rf"^```{kind}\n(.*?)^```", found, re.S | re.M)
    return str(block)


def post(lab: Lab, script: str, wait: int = 60) -> Any:
    body = {
        "plugin": "linux_system",
        "host": HOST,
        "method": "run_shell",
        "parameters": {"command": "sh", "args": ["-c", script]},
    }
    return ask(lab.app, f"/testcases?wait={wait}", body).json


class Machine:
    """Where the commands of the page are typed: folders and the database have other names."""

    def __init__(self, folder: Path, server: MariaDB) -> None:
        self.root = folder
        self.server = server
        for name in ("root", "var/backups", "etc/labapi"):
            (folder / name).mkdir(parents=True)
        (folder / "root/labapi-db.cnf").write_text("[client]\nhost=127.0.0.1\nuser=root\n")
        (folder / "etc/labapi/labapi.conf").write_text(
            f"[DEFAULT]\nstate_path = {folder}\n[database]\nconnection = {server.url}\n"
        )

    def types(self, commands: str) -> None:
        for name in ("/root/", "/var/backups/"):
            commands = commands.replace(name, f"{self.root}{name}")
        commands = commands.replace("-C / ", f"-C {self.root} ")
        commands = re.sub(r"(?<=[ ])labapi(?=[ \n])", self.server.name, commands)
        manage = f"{BIN}/labapi-manage --config-file {self.root}/etc/labapi/labapi.conf"
        commands = commands.replace("labapi-manage", manage)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def lab(tmp_path: Path, mariadb: MariaDB) -> Iterator[Lab]:
    lab = Lab(tmp_path, database__connection=mariadb.url, agent__heartbeat_interval=0.3).start()
    yield lab
    lab.stop()


def test_a_lab_that_runs_is_saved_and_restored(lab: Lab, mariadb: MariaDB, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", mariadb)
    before = post(lab, "echo before")
    running = post(lab, f"until test -e {tmp_path}/go; do sleep 0.05; done", wait=0)
    until(lambda: ask(lab.app, f"/testcases/{running['id']}").json["started_at"])
    machine.types(section("Backup", "sh"))
    (tmp_path / "go").touch()  # it held nobody up: what ran goes on, and what is new runs
    until(lambda: ask(lab.app, f"/testcases/{running['id']}").json["result"] == "PASS")
    after = post(lab, "echo after")
    assert after["result"] == "PASS"

    lab.conductor.stop()
    lab.backend.stop()
    mariadb.drop()
    shutil.rmtree(machine.root / "etc")
    machine.types(section("Restore", "sh"))
    assert lab.agent is not None
    lab.agent.stop()
    again = Lab(tmp_path, database__connection=mariadb.url).start()
    try:
        assert ask(again.app, f"/testcases/{before['id']}").json["output"] == "before\n"
        assert ask(again.app, f"/testcases/{after['id']}").status_int == 404
        assert ask(again.app, f"/testcases/{running['id']}").json["state"] == "running"
        assert post(again, "echo again")["result"] == "PASS"
    finally:
        again.stop()


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """Return the root logger, whose handlers and level oslo.log replaces."""
    logger = logging.getLogger()
    before = logger.handlers[:], logger.level
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:], logger.level = before


def test_a_log_file_is_rotated(tmp_path: Path, root_logger: logging.Logger) -> None:
    folder = tmp_path / "log"
    folder.mkdir(mode=0o755)
    options = section("Rotating log files", "ini").replace("/var/log/labapi", str(folder))
    (tmp_path / "labapi.conf").write_text(options)
    rotation = section("Rotating log files", "logrotate").replace("/var/log/labapi", str(folder))
    (tmp_path / "rotate.conf").write_text(rotation)
    logs.setup(config.load(["--config-file", f"{tmp_path}/labapi.conf"], prog="x", description=""))
    logging.getLogger("labapi.test").warning("the first line")
    subprocess.run(
        [
            installed("logrotate"),
            "--force",
            "--state",
            f"{tmp_path}/state",
            f"{tmp_path}/rotate.conf",
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    logging.getLogger("labapi.test").warning("the second line")
    assert (folder / "labapi-api.log.1").read_text().endswith("the first line\n")
    assert (folder / "labapi-api.log").read_text().endswith("the second line\n")
