"""What is old goes; what is not finished, or is not old, stays."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest
from sqlalchemy import func, select

from labapi.case import Result, State
from labapi.db import (
    hosts,
    leases,
    notices,
    outputs,
    plans,
    purge,
    services,
    testcases,
    testplans,
)
from labapi.db.models import FormerHost, OutputChunk
from labapi.db.purge import Old, Purge
from labapi.db.session import Database
from tests import plans_to_run
from tests.hosts import make_lease
from tests.unit.db.test_testcases import add

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)
LONG_AGO = NOW - 100 * DAY
UNFINISHED = (State.QUEUED, State.RUNNING, State.CANCELLING)
OLD = Old(NOW - 90 * DAY)


def finished(database: Database, at: datetime.datetime = LONG_AGO, **values: Any) -> str:
    ended = {"state": State.FINISHED, "result": Result.PASS, "finished_at": at, "created_at": at}
    return add(database, values.pop("host", "h"), **{**ended, **values})


def a_lease(database: Database) -> str:
    """Make one that nobody would find hosts for."""
    nowhere = {"requires": ["rack=none"]}
    whose = f"p-{uuid.uuid4().hex[:8]}"
    return make_lease(database, None, LONG_AGO, project_id=whose, placement=nowhere)


def ended_lease(database: Database, at: datetime.datetime = LONG_AGO) -> str:
    """Make one that ended at this time."""
    lease = a_lease(database)
    database.write(leases.end, database.read(leases.get, lease).id, at, "u")
    return lease


def write_output(database: Database, case: str, pieces: int = 3) -> None:
    row = database.read(testcases.get, case).id
    chunks = [(row, 4 * number, b"text") for number in range(pieces)]
    database.write(outputs.add, chunks)


def pieces(database: Database, row: int) -> int:
    query = select(func.count()).where(OutputChunk.testcase_id == row)
    return int(database.read(lambda c: c.execute(query).scalar_one()))


def test_old_cases_go_with_all_that_is_theirs(database: Database) -> None:
    key = uuid.uuid4().hex
    old = [finished(database, idempotency=key), *(finished(database) for _ in range(30))]
    rows = [database.read(testcases.get, case).id for case in old]
    for case in old[:5]:
        write_output(database, case, 40)
    stay = [
        finished(database, NOW - DAY),
        finished(database, NOW - DAY, created_at=LONG_AGO),
        *(add(database, "h", state=state, created_at=LONG_AGO) for state in UNFINISHED),
    ]
    for case in stay:
        write_output(database, case)
    assert purge.old_cases(database, OLD) == len(old)
    told: list[float] = []
    purged = Purge(database, lambda progress: told.append(progress.share))
    assert purged.cases(OLD) == len(old)
    assert [database.read(testcases.get, case) for case in old] == [None] * len(old)
    assert database.read(testcases.with_key, key) is None
    assert sum(pieces(database, row) for row in rows) == 0
    for case in stay:
        assert pieces(database, database.read(testcases.get, case).id) == 3
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert Purge(database).cases(OLD) == 0


def test_cases_of_one_result(database: Database) -> None:
    passed, failed = finished(database), finished(database, result=Result.FAIL)
    assert Purge(database).cases(Old(OLD.before, Result.PASS)) == 1
    assert database.read(testcases.get, passed) is None
    assert database.read(testcases.get, failed) is not None
    Purge(database).cases(OLD)


def test_output_goes_and_its_case_stays(database: Database) -> None:
    old = finished(database, output_size=12, output_sent=12)
    young = finished(database, NOW - DAY, output_size=12, output_sent=12)
    for case in (old, young):
        write_output(database, case)
    assert purge.old_cases(database, OLD, with_output=True) == 1
    assert Purge(database).output(OLD) == 3
    row = database.read(testcases.get, old)
    assert (row.output_size, row.output_sent) == (12, 0)
    assert pieces(database, row.id) == 0
    row = database.read(testcases.get, young)
    assert (row.output_sent, pieces(database, row.id)) == (12, 3)
    assert Purge(database).output(OLD) == 0


def test_what_was_stopped_half_way_goes_on(database: Database) -> None:
    old = [finished(database) for _ in range(60)]
    for case in old:
        write_output(database, case)
    steps = iter(range(4))
    Purge(database, stopping=lambda: next(steps, None) is None).cases(OLD)
    left = [case for case in old if database.read(testcases.get, case) is not None]
    assert left
    Purge(database).cases(OLD)
    assert all(database.read(testcases.get, case) is None for case in old)


def test_nothing_at_all(database: Database) -> None:
    assert Purge(database).cases(Old(LONG_AGO - 1000 * DAY)) == 0


@pytest.fixture
def silent(database: Database) -> str:
    """A host that was not heard of for long."""
    return announced(database, LONG_AGO)


def announced(database: Database, at: datetime.datetime, *, beat: bool = True) -> str:
    name = f"host-{uuid.uuid4().hex[:8]}"
    said = {"address": None, "agent": "a", "release": "1", "slots": 2, "plugins": {}}
    database.write(hosts.announce, {name: said}, at)
    if beat:
        database.write(services.beat, services.AGENT, {name: None}, at)
    return name


def test_silent_hosts_go_with_their_services(database: Database, silent: str) -> None:
    never = announced(database, LONG_AGO, beat=False)
    young = announced(database, NOW - DAY)
    busy, disabled = announced(database, LONG_AGO), announced(database, LONG_AGO)
    add(database, busy, created_at=LONG_AGO)
    of_old = add(database, silent, state=State.FINISHED, finished_at=LONG_AGO)
    database.write(services.switch, services.AGENT, disabled, disabled=True, reason="broken")
    gone = f"machine-{uuid.uuid4().hex[:8]}"
    database.write(services.beat, "labapi-api", {gone: None}, LONG_AGO)
    assert set(database.read(purge.silent_hosts, OLD.before)) == {silent, never}
    assert purge.hosts(database, OLD.before) == 2
    assert set(database.read(hosts.known, [silent, never, young, busy, disabled])) == {
        young,
        busy,
        disabled,
    }
    for host in (silent, gone):
        assert database.read(services.every, host=host) == []
    assert database.read(testcases.get, of_old).host == silent


def test_a_host_that_comes_back_has_its_metadata_again(database: Database) -> None:
    host = announced(database, LONG_AGO)
    case = finished(database, host=host)
    row = database.read(testcases.target, host)[0]
    database.write(hosts.change_meta, row.id, lambda meta: {**meta, "allow": "192.0.2.1"})
    assert database.write(purge.delete_host, host)
    of_case = database.read(testcases.get, case)
    assert of_case is not None
    assert of_case.host_meta == {"allow": "192.0.2.1"}
    said = {"address": None, "agent": "b", "release": "1", "slots": 2, "plugins": {}}
    for _ in range(2):
        database.write(hosts.announce, {host: said}, NOW)
        assert database.read(testcases.target, host)[0].meta == {"allow": "192.0.2.1"}
    assert not database.read(lambda c: c.execute(select(FormerHost)).all())


def test_a_host_that_comes_back_at_that_moment_stays(database: Database, silent: str) -> None:
    database.write(services.beat, services.AGENT, {silent: None}, NOW)
    assert not database.write(purge.delete_host, silent, OLD.before)
    assert database.write(purge.delete_host, silent)
    assert database.read(hosts.known, [silent]) == {}


def plan_of(
    database: Database, ended: datetime.datetime | None, cases: int = 1
) -> tuple[str, list[str]]:
    """Return a plan that has ended then, or has not, and its cases, which ended long ago."""
    notify = [{"mail": "a@example.org"}]
    entries = plans_to_run.serial(*({} for _ in range(cases)))
    plan = plans_to_run.add(database, entries, created_at=LONG_AGO, notify=notify)
    number = plans_to_run.plan(database, plan).id
    if ended is not None:
        database.write(plans.finish, number, Result.PASS, ended)
    return plan, [finished(database, plan=plan) for _ in range(cases)]


def test_a_plan_goes_as_a_whole(database: Database) -> None:
    plan, cases = plan_of(database, LONG_AGO + DAY, 30)
    number = plans_to_run.plan(database, plan).id
    Purge(database).cases(OLD)
    assert [database.read(testcases.get, case) for case in cases] == 30 * [None]
    assert database.read(testplans.get, plan) is None
    assert plans_to_run.entries(database, plan) == []
    assert database.read(notices.list_of, number) == []


@pytest.mark.parametrize("ended", [None, NOW])
def test_what_is_part_of_a_plan_stays_as_long_as_it(
    database: Database, ended: datetime.datetime | None
) -> None:
    plan, (case,) = plan_of(database, ended)
    write_output(database, case)
    Purge(database).output(OLD)
    Purge(database).cases(OLD)
    row = database.read(testcases.get, case)
    assert row is not None
    assert pieces(database, row.id) == 3
    assert len(plans_to_run.entries(database, plan)) == 1


def test_a_plan_loses_no_cases_of_one_result(database: Database) -> None:
    plan, (case,) = plan_of(database, LONG_AGO)
    Purge(database).cases(Old(OLD.before, Result.PASS))
    assert database.read(testcases.get, case) is not None
    assert database.read(testplans.get, plan) is not None


def test_leases_that_ended_long_ago(database: Database) -> None:
    old = [ended_lease(database) for _ in range(12)]
    young, waiting = ended_lease(database, NOW - DAY), a_lease(database)
    assert len(database.read(purge.old_leases, OLD.before)) == len(old)
    assert Purge(database, stopping=lambda: True).leases(OLD.before) == 0
    assert Purge(database).leases(OLD.before) == len(old)
    assert [database.read(leases.get, lease) for lease in old] == [None] * len(old)
    assert database.read(leases.get, young) is not None
    assert database.read(leases.get, waiting) is not None
    database.write(leases.end, database.read(leases.get, waiting).id, NOW, "u")
