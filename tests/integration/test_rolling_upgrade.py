"""An upgrade as docs/upgrade.md has it: one program after the other, while cases run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import kombu
import pymysql
import pytest

from labapi.rpc import dead_letters
from tests.integration.next_release import BEFORE, HERE, REVISION
from tests.integration.rolling import (
    HOSTS,
    NEXT,
    NOW,
    PATIENCE,
    Program,
    RollingLab,
    Traffic,
    ended,
)
from tests.lab import MariaDB, RabbitMQ, until


@pytest.fixture
def lab(tmp_path: Path, mariadb: MariaDB, rabbitmq: RabbitMQ) -> Iterator[RollingLab]:
    lab = RollingLab(tmp_path, mariadb.url, rabbitmq.url)
    yield lab
    lab.stop()


@pytest.fixture
def traffic(lab: RollingLab) -> list[Traffic]:
    """Clients whose cases name their hosts, and one whose cases may run anywhere."""
    return [Traffic(lab.urls, HOSTS), Traffic(lab.urls, [None])]


def test_a_lab_is_upgraded_while_cases_run(
    lab: RollingLab, traffic: list[Traffic], mariadb: MariaDB, rabbitmq: RabbitMQ
) -> None:
    lab.start(NOW)
    for client in traffic:
        client.start()

    def replace(program: Program) -> None:
        program.replace(NEXT)
        more = [len(client.made) + 2 for client in traffic]
        until(lambda: all(len(c.made) >= n for c, n in zip(traffic, more, strict=True)), PATIENCE)

    assert REVISION in lab.upgrade(NEXT)
    first, second = lab.conductors
    replace(first)
    # One of this release that dies now is started again beside the newer database.
    second.replace(NOW)
    assert second.process is not None
    second.process.says("the database is of a newer labapi")
    for program in (second, *lab.apis, *lab.agents):
        replace(program)
    # And back again.
    for program in (lab.agents[0], lab.apis[0], first):
        program.replace(NOW)

    made = [case for client in traffic for case in client.stop()]
    assert [why for client in traffic for why in client.refused] == []
    cases = [ended(lab.urls[0], case) for case in made]
    assert [(c.id, c.reason, c.detail) for c in cases if c.result != "PASS"] == []
    assert releases(mariadb) == {BEFORE, HERE}
    with kombu.Connection(rabbitmq.url) as connection:
        assert list(dead_letters.read(connection)) == []
    for program in lab.programs:
        program.stop()


def releases(mariadb: MariaDB) -> set[str]:
    """Return by programs of which release cases were made."""
    there = pymysql.connect(host="127.0.0.1", user="root", database=mariadb.name)
    with there as connection, connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT `release` FROM testcases")
        return {name for (name,) in cursor.fetchall()}
