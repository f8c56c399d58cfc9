"""``labapi-manage db upgrade``, several at once and killed half-way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from tests.lab import MariaDB, until
from tests.programs import Program, run

TOGETHER = 4


@pytest.fixture
def empty() -> Iterator[MariaDB]:
    database = MariaDB().create()
    yield database
    database.drop()


def configured(folder: Path, url: str) -> str:
    file = folder / "labapi.conf"
    file.write_text(f"[database]\nconnection = {url}\n")
    return str(file)


def upgrade(file: str, log: Path, *more: str) -> Program:
    return Program("labapi-manage", "--config-file", file, "db", "upgrade", *more, log=log)


@pytest.mark.parametrize("server", ["sqlite", "mariadb"])
def test_several_upgrades_at_once(server: str, tmp_path: Path, empty: MariaDB) -> None:
    url = empty.url if server == "mariadb" else f"sqlite:///{tmp_path}/labapi.sqlite"
    file = configured(tmp_path, url)
    started = [upgrade(file, tmp_path / f"{number}.log") for number in range(TOGETHER)]
    statuses = [program.process.wait(120) for program in started]
    assert statuses == [0] * TOGETHER, [program.output() for program in started]
    current = {program.output().rsplit(None, 1)[-1] for program in started}
    assert len(current) == 1


def test_an_upgrade_that_is_killed_half_way(tmp_path: Path, empty: MariaDB) -> None:
    file = configured(tmp_path, empty.url)
    assert run("labapi-manage", "--config-file", file, "db", "upgrade", "0001").returncode == 0
    holder = pymysql.connect(host="127.0.0.1", user="root", database=empty.name)
    with holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLES testcases WRITE, hosts READ")
        killed = upgrade(file, tmp_path / "killed.log")

        def waits() -> bool:
            with pymysql.connect(host="127.0.0.1", user="root") as other, other.cursor() as look:
                look.execute(
                    "SELECT 1 FROM information_schema.processlist"
                    " WHERE db = %s AND state LIKE '%%metadata lock%%'",
                    (empty.name,),
                )
                return look.fetchone() is not None

        until(waits, what="the upgrade's wait for the table")
        killed.stop(signal.SIGKILL)
        cursor.execute("UNLOCK TABLES")
    done = run("labapi-manage", "--config-file", file, "db", "upgrade")
    assert done.returncode == 0, done.stderr
    again = run("labapi-manage", "--config-file", file, "db", "upgrade")
    assert "stays at" in again.stdout
