"""Several cases of one request, and who waits, on SQLite and MariaDB."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest

from labapi.case import State
from labapi.db import host_use, outputs, queue, testcases, waiting
from labapi.db.session import Database
from tests.backends import database  # noqa: F401

NOW = datetime.datetime(2026, 11, 21, 8, tzinfo=datetime.UTC)


def row(**columns: Any) -> dict[str, Any]:
    return {
        "uuid": str(uuid.uuid4()),
        "project_id": "p",
        "request_id": "req-1",
        "plugin": "linux_system",
        "method": "ping",
        "host": None,
        "parameters": {},
        "timeout": 5.0,
        "state": State.QUEUED,
        "data": None,
        "output_size": 0,
        "created_at": NOW,
        "idempotency": None,
        **columns,
    }


def rows(count: int, **columns: Any) -> list[dict[str, Any]]:
    batch = str(uuid.uuid4())
    first = row(uuid=batch, batch=batch, **columns)
    return [first, *(row(batch=batch, **columns) for _ in range(count - 1))]


@pytest.fixture
def batch(database: Database) -> list[dict[str, Any]]:  # noqa: F811  (the fixture)
    made = rows(1000)
    made[0]["idempotency"] = uuid.uuid4().hex
    assert database.write(testcases.create_all, made) == made[0]["uuid"]
    return made


def test_a_batch_is_in_the_order_of_its_making(
    database: Database,  # noqa: F811
    batch: list[dict[str, Any]],
) -> None:
    found = database.read(testcases.batch, batch[0]["batch"], 1000)
    assert [case.uuid for case in found] == [case["uuid"] for case in batch]
    assert database.read(testcases.left, batch[0]["batch"]) == 1000
    assert set(database.read(testcases.of_batch, batch[0]["batch"])) == {c["uuid"] for c in batch}


def test_it_is_made_once(
    database: Database,  # noqa: F811
    batch: list[dict[str, Any]],
) -> None:
    # Its commit was answered, and the answer was lost.
    assert database.write(testcases.create_all, batch) == batch[0]["uuid"]
    other = rows(3)
    other[0]["idempotency"] = batch[0]["idempotency"]
    assert database.write(testcases.create_all, other) == batch[0]["uuid"]
    assert database.read(testcases.of_batch, other[0]["batch"]) == []
    assert database.read(testcases.left, batch[0]["batch"]) == 1000


def test_what_is_large_in_it_is_not_read(database: Database) -> None:  # noqa: F811
    made = rows(2, state=State.FINISHED)
    made[0]["data"], made[1]["data"] = {"large": "x" * 100}, {"small": 1}
    database.write(testcases.create_all, made)
    large, small = database.read(testcases.batch, made[0]["batch"], 50)
    assert set(large.data) == {"cannot_be_shown"}
    assert small.data == {"small": 1}
    assert database.read(testcases.left, made[0]["batch"]) == 0


def test_the_heads_of_outputs_are_cut(database: Database) -> None:  # noqa: F811
    made = rows(2, state=State.FINISHED)
    database.write(testcases.create_all, made)
    ids = [case.id for case in database.read(testcases.batch, made[0]["batch"], 50)]
    database.write(outputs.add, [(ids[0], 0, b"\xff\x00bytes"), (ids[0], 7, b"more")])
    uuids = [case["uuid"] for case in made]
    assert database.read(testcases.heads, uuids, 4) == {uuids[0]: b"\xff\x00by"}


def test_who_waits_is_found_by_host(
    database: Database,  # noqa: F811
    batch: list[dict[str, Any]],
) -> None:
    host = f"host-{uuid.uuid4().hex[:8]}"
    late, urgent = row(host=host), row(host=host, queue_rank=-5)
    for one in (late, urgent):
        database.insert(testcases.create, one)
    assert [one.queue_rank for one in database.read(waiting.queue, host)] == [-5, 0]
    assert len(database.read(waiting.queue, None)) >= len(batch)
    before = database.read(queue.usage).get("busy", 0)
    database.insert(testcases.create, row(host=host, project_id="busy", state=State.RUNNING))
    assert database.read(queue.usage)["busy"] == before + 1
    assert [one.project_id for one in database.read(host_use.running, [host])[host]] == ["busy"]
