"""Who gives cases to hosts sees what others have given them."""

from __future__ import annotations

import datetime
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert

from labapi.db import host_states
from labapi.db.models import TestCase
from labapi.db.session import Database
from tests.hosts import announce

NOW = datetime.datetime(2026, 11, 22, 8, 0, tzinfo=datetime.UTC)
HOSTS = [f"lab-{n}" for n in range(4)]


@pytest.mark.parametrize("named", [1, 2, 4])
def test_who_waits_for_hosts_sees_what_they_were_given_meanwhile(
    database: Database, named: int
) -> None:
    for host in HOSTS:
        announce(database, host, NOW, slots=2)
    asked = HOSTS[-named:]
    with ThreadPoolExecutor(1) as pool:

        def give(connection: Connection) -> tuple[int, Future[int]]:
            before = active(connection)
            other = pool.submit(database.write, active)
            time.sleep(0.5)  # it waits for these hosts now
            connection.execute(insert(TestCase).values(running_on(asked[0])))
            return before, other

        def active(connection: Connection) -> int:
            rows = {row.host: row for row in host_states.lock(connection, asked)}
            assert sorted(rows) == asked
            return int(rows[asked[0]].active)

        before, other = database.write(give)
        assert other.result(timeout=60) == before + 1


@pytest.mark.parametrize("name", ["mysql", "mariadb"])
def test_the_order_of_joins_has_either_name(name: str) -> None:
    engine = create_engine(f"{name}+pymysql://")
    assert str(host_states._LOCK.compile(engine)).startswith("SELECT STRAIGHT_JOIN ")


def running_on(host: str) -> dict[str, Any]:
    return {
        "uuid": str(uuid.uuid4()),
        "host": host,
        "state": "running",
        "request_id": "req-1",
        "plugin": "linux_system",
        "method": "run_shell",
        "parameters": {},
        "timeout": 10.0,
        "queue_rank": 0,
        "rerun_on_loss": False,
        "created_at": NOW,
        "output_size": 0,
        "attempts": 1,
    }
