from __future__ import annotations

import datetime
import threading
import uuid
from typing import Any

import pytest

from labapi.case import Reason, Result, State
from labapi.db import attempts, hosts, outputs, queue, services, testcases
from labapi.db.session import Database
from tests.hosts import announce
from tests.lab import claim

NOW = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)


def add(database: Database, host: str, **values: Any) -> str:
    case = str(uuid.uuid4())
    row = {
        "uuid": case,
        "project_id": "p",
        "user_id": "u",
        "request_id": "req-1",
        "plugin": "linux_system",
        "method": "ping",
        "host": host,
        "parameters": {"host": "\u4e2d"},
        "timeout": 5.0,
        "state": State.QUEUED,
        "created_at": NOW,
        "output_size": 0,
        "idempotency": None,
    }
    return database.insert(testcases.create, {**row, **values})


@pytest.fixture
def host(database: Database) -> str:
    return announce(database, f"host-{uuid.uuid4().hex[:8]}", NOW, slots=2)


def test_a_case_comes_back_as_it_was_written(database: Database, host: str) -> None:
    case = database.read(testcases.get, add(database, host))
    assert case is not None
    assert (case.parameters, case.created_at) == ({"host": "\u4e2d"}, NOW)
    assert case.created_at.tzinfo is datetime.UTC


def test_a_case_that_is_there_already_stays_the_only_one(database: Database, host: str) -> None:
    """As after a lost answer: the request, or the statement alone, comes again."""
    key = uuid.uuid4().hex
    first = add(database, host, idempotency=key)
    assert add(database, host, idempotency=key) == first
    assert add(database, host, uuid=first) == first


def test_claim_takes_the_oldest_and_each_with_an_attempt_of_its_own(
    database: Database, host: str
) -> None:
    cases = [add(database, host) for _ in range(3)]
    claimed = claim(database, host, 2, NOW)
    assert [case.uuid for case in claimed] == cases[:2]
    assert len({case.attempt for case in claimed}) == 2
    stored = [database.read(testcases.get, case) for case in cases]
    assert [case.attempt for case in stored[:2]] == [case.attempt for case in claimed]
    assert [case.state for case in stored] == ["running", "running", "queued"]
    (demand,) = database.read(queue.demand, [host, "stranger"])
    assert (demand.host, demand.slots, demand.active) == (host, 2, 2)
    assert (host, True) in database.read(queue.waiting_hosts)
    claim(database, host, 1, NOW)
    assert database.read(queue.demand, [host]) == []


def test_conductors_that_claim_at_once_share_the_cases(database: Database, host: str) -> None:
    cases = {add(database, host) for _ in range(40)}
    claimed: list[str] = []

    def take() -> None:
        for _ in range(10):
            rows = claim(database, host, 3, NOW)
            claimed.extend(row.uuid for row in rows)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    claimed += [row.uuid for row in claim(database, host, 40, NOW)]
    assert sorted(claimed) == sorted(cases)


def test_a_released_case_waits_again(database: Database, host: str) -> None:
    case = add(database, host)
    (claimed,) = claim(database, host, 1, NOW)
    database.write(queue.release, [claimed.attempt], "no queue")
    row = database.read(testcases.get, case)
    assert (row.state, row.attempt, row.detail) == (State.QUEUED, None, "no queue")


def test_only_what_nobody_has_begun_is_resent(database: Database, host: str) -> None:
    begun, unbegun, _ = (add(database, host) for _ in range(3))
    claimed = claim(database, host, 2, NOW)
    database.write(attempts.change, {claimed[0].id: {"started_at": NOW}})
    assert database.read(queue.unbegun, [host]) == [unbegun]
    (resent,) = database.write(queue.resend, [begun, unbegun], NOW + SECOND)
    assert (resent.uuid, resent.attempt) == (unbegun, claimed[1].attempt)
    assert database.read(testcases.get, unbegun).resent_at == NOW + SECOND


def test_finish_moves_only_from_the_states_it_names(database: Database, host: str) -> None:
    queued, other = add(database, host), add(database, host, state=State.FINISHED)
    ended = database.write(
        attempts.finish,
        [queued, other],
        NOW,
        states=(State.QUEUED,),
        result="ERROR",
        reason="expired",
        detail="",
    )
    assert ended == [queued]
    row = database.read(testcases.get, queued)
    assert (row.state, row.result, row.finished_at) == (State.FINISHED, "ERROR", NOW)


def test_cancel_in_every_state(database: Database, host: str) -> None:
    case = add(database, host)
    assert database.write(attempts.request_cancel, case, NOW) == State.QUEUED
    row = database.read(testcases.get, case)
    assert (row.result, row.reason) == (Result.CANCELLED, Reason.CANCELLED)
    assert database.write(attempts.request_cancel, case, NOW) == State.FINISHED
    running = add(database, host)
    claim(database, host, 1, NOW)
    assert database.write(attempts.request_cancel, running, NOW) == State.RUNNING
    assert database.write(attempts.request_cancel, running, NOW) == State.CANCELLING
    assert database.write(attempts.request_cancel, str(uuid.uuid4()), NOW) is None


def test_pages_come_newest_first_and_meet_without_gap(database: Database, host: str) -> None:
    cases = [add(database, host) for _ in range(5)]
    seen: list[str] = []
    before, more = None, True
    while more:
        rows, more = database.read(
            testcases.page, {"host": host}, since=None, before=before, limit=2
        )
        seen += [row.uuid for row in rows]
        before = rows[-1].id
    assert seen == cases[::-1]


def test_output_is_read_from_the_piece_that_holds_the_offset(database: Database, host: str) -> None:
    case = database.read(testcases.get, add(database, host)).id
    database.write(outputs.add, [(case, 3, b"def"), (case, 0, b"abc"), (case, 9, b"jkl")])
    database.write(outputs.add, [(case, 3, b"XYZ"), (case, 12, b"")])
    pieces = [(row.offset, row.data) for row in database.read(outputs.read, case, 4, 10)]
    assert pieces == [(3, b"def"), (9, b"jkl")]
    assert len(database.read(outputs.read, case, 0, 2)) == 2


def test_an_address_may_be_that_of_several_hosts(database: Database) -> None:
    names = sorted(f"twin-{uuid.uuid4().hex[:8]}" for _ in range(2))
    for name in names:
        announce(database, name, NOW, address="192.0.2.77")
    assert sorted(row.host for row in database.read(testcases.target, "192.0.2.77")) == names
    assert [row.host for row in database.read(testcases.target, names[0])] == [names[0]]
    assert database.read(testcases.target, names[0].upper()) == []


def test_announcing_again_keeps_id_and_uuid(database: Database, host: str) -> None:
    (before,) = database.read(testcases.target, host)
    announce(database, host, NOW, agent="b", address="192.0.2.5", release="2")
    (after,) = database.read(testcases.target, host)
    assert (after.id, after.uuid) == (before.id, before.uuid)
    now = database.read(hosts.get, after.id)
    assert now is not None
    assert (now.address, now.release) == ("192.0.2.5", "2")


def test_a_host_is_up_from_its_beat_to_its_goodbye(database: Database, host: str) -> None:
    database.write(services.beat, services.AGENT, {host: {"load": 1}}, NOW)
    add(database, host)
    (row,) = database.read(queue.demand, [host])
    assert (row.last_seen_at, row.stopped, row.slots, row.active) == (NOW, False, 2, 0)
    database.write(services.beat, services.AGENT, {host: None}, NOW + SECOND, stopped=True)
    (row,) = database.read(queue.demand, [host])
    assert (row.last_seen_at, row.stopped) == (NOW + SECOND, True)
    assert set(database.read(hosts.known, [host, "stranger"])) == {host}
