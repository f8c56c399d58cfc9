"""``labapi-manage db purge``."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from labapi import config
from labapi.case import State
from labapi.db import leases, migration, testcases
from labapi.db.session import Database
from tests.programs import run
from tests.unit.db.test_purge import ended_lease
from tests.unit.db.test_testcases import add


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    conf = config.new(state_path=str(tmp_path))
    conf([], project="labapi", default_config_files=[])
    database = Database(conf)
    migration.upgrade(database)
    yield database
    database.close()


def test_purge(tmp_path: Path, database: Database) -> None:
    at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=91)
    ended = {"created_at": at, "finished_at": at, "state": State.FINISHED, "result": "PASS"}
    old = [add(database, "h", **ended) for _ in range(3)]
    waiting = add(database, "h", created_at=at)
    lease = ended_lease(database, at)

    def purge(*args: str) -> tuple[int, str]:
        done = run("labapi-manage", "--state-path", str(tmp_path), "db", "purge", *args)
        return done.returncode, done.stdout + done.stderr

    assert purge("--older-than", "90d", "--dry-run") == (
        0,
        "3 cases would be removed\n1 leases would be removed\n0 hosts would be removed\n",
    )
    assert database.read(testcases.get, old[0]) is not None
    status, said = purge("--older-than", "90d", "--state", "queued")
    assert (status, said) == (1, "a case that is queued is not finished: it stays\n")
    for kind in ("leases", "hosts"):
        said = f"{kind} have no result; leave out --result\n"
        assert purge("--older-than", "90d", "--only", kind, "--result", "PASS") == (1, said)
    assert purge("--older-than", "soon")[0] == 2
    assert purge("--older-than", "90d", "--result", "FAIL")[1].startswith("0 cases removed")
    status, said = purge("--older-than", "90d")
    assert status == 0
    assert said.startswith("3 cases removed; the longest transaction took ")
    assert said.endswith("1 leases removed\n0 hosts removed\n")
    assert database.read(leases.get, lease) is None
    assert purge("--older-than", "90d", "--only", "leases") == (0, "0 leases removed\n")
    assert [database.read(testcases.get, case) for case in old] == [None] * 3
    assert database.read(testcases.get, waiting) is not None
