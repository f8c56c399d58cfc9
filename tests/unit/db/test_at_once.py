"""A host is given no more cases than it has room for, however many are made at the same moment."""

from __future__ import annotations

import datetime
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, update

from labapi.db import at_once, attempts, host_states, services, testcases
from labapi.db.models import Host, Lease
from labapi.db.prepared import Prepared
from labapi.db.session import Database
from labapi.exceptions import NotFound
from tests.hosts import announce

NOW = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)
SLOTS, AHEAD = 3, 2
TOGETHER = 24


class Giver:
    """Makes cases that name one host."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.host = announce(database, f"host-{uuid.uuid4().hex[:8]}", NOW, slots=SLOTS)
        ((self.id,),) = database.read(
            lambda c: c.execute(select(Host.id).where(Host.host == self.host)).all()
        )

    def give(self, **more: Any) -> at_once.Made:
        row = self.row(**more)
        return self._database.insert(at_once.give, row, self.id, AHEAD)

    def row(self, **more: Any) -> dict[str, Any]:
        return {
            "uuid": str(uuid.uuid4()),
            "project_id": "lab",
            "request_id": "req-1",
            "plugin": "linux_system",
            "method": "run_shell",
            "host": self.host,
            "parameters": {"size": "größe", "n": [1, None]},
            "timeout": 10.0,
            "queue_rank": 0,
            "rerun_on_loss": False,
            "created_at": NOW,
            "output_size": 0,
            "idempotency": None,
            "state": "running",
            "attempt": uuid.uuid4().hex,
            "attempts": 1,
            "dispatched_at": NOW,
            **more,
        }

    def set_host(self, **values: Any) -> None:
        self._database.write(
            lambda c: c.execute(update(Host).where(Host.id == self.id).values(**values))
        )


@pytest.fixture
def giver(database: Database) -> Giver:
    return Giver(database)


def test_a_case_is_made_on_the_shortest_way(
    database: Database, giver: Giver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def long(*_: Any) -> None:
        raise AssertionError("SQLAlchemy was asked")

    monkeypatch.setattr(Prepared, "_usual", long)
    row = giver.row()
    made = database.insert(at_once.give, row, giver.id, AHEAD)
    assert made == at_once.Made(row["uuid"], given=True)
    case = database.read(testcases.get, made.uuid)
    assert case is not None
    assert {name: getattr(case, name) for name in row} == row
    empty(database, [made.uuid])


def test_requests_of_the_same_moment_take_no_more_than_there_is(
    database: Database, giver: Giver
) -> None:
    for _ in range(4):
        with ThreadPoolExecutor(TOGETHER) as pool:
            made = list(pool.map(lambda _: giver.give(), range(TOGETHER)))
        rows = [database.read(testcases.get, case.uuid) for case in made]
        assert sum(case.given for case in made) == SLOTS + AHEAD
        assert [row.state == "running" for row in rows if row] == [case.given for case in made]
        empty(database, [case.uuid for case in made])


def empty(database: Database, cases: list[str]) -> None:
    """End all of these cases."""
    for state in ("queued", "running"):
        database.write(
            attempts.finish, cases, NOW, states=(state,), result="PASS", reason=None, detail=""
        )


def test_a_host_that_was_disabled_meanwhile_is_given_nothing(
    database: Database, giver: Giver
) -> None:
    database.write(services.beat, services.AGENT, {giver.host: None}, NOW)
    for disabled in (True, False):
        switch(database, giver.host, disabled=disabled)
        made = giver.give()
        assert made.given is not disabled
        empty(database, [made.uuid])


def test_who_disables_a_host_waits_for_who_gives_it_cases(database: Database, giver: Giver) -> None:
    database.write(services.beat, services.AGENT, {giver.host: None}, NOW)
    with ThreadPoolExecutor(1) as pool:

        def give(connection: Connection) -> Future[bool]:
            host_states.lock(connection, [giver.host])
            later = pool.submit(switch, database, giver.host, disabled=True)
            time.sleep(0.5)
            assert not later.done(), "a case may be given yet"
            return later

        assert database.write(give).result(timeout=60)


def switch(database: Database, host: str, *, disabled: bool) -> bool:
    return database.write(services.switch, services.AGENT, host, disabled=disabled, reason=None)


def test_what_is_given_is_whole_and_what_is_not_waits(database: Database, giver: Giver) -> None:
    row = giver.row()
    database.insert(at_once.give, row, giver.id, AHEAD)
    given = database.read(testcases.get, row["uuid"])
    assert given is not None
    assert {name: getattr(given, name) for name in row} == row
    for _ in range(SLOTS + AHEAD):
        last = giver.give()
    waits = database.read(testcases.get, last.uuid)
    assert waits is not None
    assert (waits.state, waits.attempt, waits.attempts, waits.dispatched_at) == (
        "queued",
        None,
        0,
        None,
    )


def test_nobody_passes_who_waits_for_the_host(database: Database, giver: Giver) -> None:
    first = giver.row(state="queued", attempt=None, attempts=0, dispatched_at=None)
    database.insert(testcases.create, first)
    assert not giver.give().given
    empty(database, [first["uuid"]])


def test_nobody_passes_who_waits_for_any_host(database: Database, giver: Giver) -> None:
    first = giver.row(host=None, state="queued", attempt=None, attempts=0, dispatched_at=None)
    database.insert(testcases.create, first)
    assert not giver.give().given
    empty(database, [first["uuid"]])
    other = Giver(database)
    assert other.give().given


def test_a_benched_host_gets_nothing(giver: Giver) -> None:
    giver.set_host(bad_since=NOW)
    assert not giver.give().given


@pytest.mark.parametrize(("project", "given"), [("lab", True), ("ci", False), (None, False)])
def test_a_leased_host_is_its_project_s(
    database: Database, giver: Giver, project: str | None, given: bool
) -> None:
    lease = {
        "uuid": str(uuid.uuid4()),
        "project_id": "lab",
        "request_id": "req-1",
        "count": 1,
        "state": "active",
        "created_at": NOW,
    }
    made = database.write(lambda c: c.execute(insert(Lease), lease).inserted_primary_key)
    giver.set_host(lease_id=made[0])
    assert giver.give(project_id=project).given is given


def test_a_key_that_came_before_gives_the_first_case(giver: Giver) -> None:
    key = uuid.uuid4().hex
    first = giver.give(idempotency=key)
    second = giver.give(idempotency=key)
    assert (second.uuid, second.given) == (first.uuid, False)


def test_an_insertion_whose_answer_was_lost_is_found_again(
    database: Database, giver: Giver
) -> None:
    row = giver.row()
    first = database.insert(at_once.give, row, giver.id, AHEAD)
    assert database.insert(at_once.give, row, giver.id, AHEAD) == first == (row["uuid"], True)


def test_a_host_that_is_gone_is_said_to_be(database: Database, giver: Giver) -> None:
    with pytest.raises(NotFound, match="taken off the list"):
        database.insert(at_once.give, giver.row(), giver.id + 1000, AHEAD)
