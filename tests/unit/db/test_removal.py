"""What becomes of a host's cases when an operator removes it."""

from __future__ import annotations

import datetime
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from labapi.case import State
from labapi.db import hosts, queue, removal, services, testcases
from labapi.db.session import Database
from labapi.exceptions import NotFound
from tests.unit.db.test_testcases import NOW, add, host

__all__ = ["host"]

AFTER = NOW + datetime.timedelta(hours=1)


def given(database: Database, host: str, count: int) -> list[str]:
    """Make cases that the host has."""
    cases = [add(database, host) for _ in range(count)]
    ids = [row.id for case in cases if (row := database.read(testcases.get, case)) is not None]
    database.write(queue.claim, ids, {}, f"{uuid.uuid4().hex}-", NOW)
    return cases


def test_all_that_is_unfinished_ends_with_its_host(
    database: Database, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "TOGETHER", 2)
    database.write(services.beat, services.AGENT, {host: None}, NOW)
    active = given(database, host, 2)
    waiting = [add(database, host, rerun_on_loss=True) for _ in range(5)]
    other = add(database, f"{host}-2")
    assert database.read(removal.prospect, host) == (True, 5, 2)
    removed = removal.remove(database, host, AFTER)
    assert removed.listed
    assert (sorted(removed.waiting), sorted(removed.active)) == (sorted(waiting), sorted(active))
    for cases, reason in ((waiting, "host_removed"), (active, "agent_lost")):
        for case in cases:
            row = database.read(testcases.get, case)
            assert row is not None
            assert (row.state, row.result, row.reason) == (State.FINISHED, "ERROR", reason)
            assert row.finished_at == AFTER
    untouched = database.read(testcases.get, other)
    assert untouched is not None
    assert untouched.state == State.QUEUED
    assert host not in database.read(hosts.known, [host])
    assert database.read(services.every, host=host) == []


def test_what_was_interrupted_is_begun_again(database: Database, host: str) -> None:
    removal.remove(database, host, AFTER)
    late = add(database, host)
    again = removal.remove(database, host, AFTER)
    assert again == (False, [late], [])
    assert database.read(removal.prospect, host) == (False, 0, 0)


def test_what_an_operator_says_of_a_host_at_its_end_outlives_it(
    database: Database, host: str
) -> None:
    case = add(database, host)
    row = database.read(hosts.named, host)
    assert row is not None
    with ThreadPoolExecutor(1) as pool:
        beside: list[Future[removal.Removed]] = []

        def close(_: dict[str, str]) -> dict[str, str]:
            beside.append(pool.submit(removal.remove, database, host, AFTER))
            time.sleep(0.5)  # the removal waits for this host now
            return {"allow": "192.0.2.1"}

        database.write(hosts.change_meta, row.id, close)
        assert beside[0].result(timeout=60).listed
    kept = database.read(testcases.get, case)
    assert kept is not None
    assert kept.host_meta == {"allow": "192.0.2.1"}


def test_nobody_changes_the_metadata_of_a_host_that_has_gone(database: Database, host: str) -> None:
    row = database.read(hosts.named, host)
    assert row is not None
    removal.remove(database, host, AFTER)
    with pytest.raises(NotFound, match="just been taken off"):
        database.write(hosts.change_meta, row.id, dict)
