from __future__ import annotations

import datetime

from labapi.case import Reason, Result, State
from labapi.db import handover, hosts, testcases
from labapi.db.session import Database
from tests.lab import claim
from tests.unit.db.test_testcases import NOW, SECOND, add, host

__all__ = ["host"]


def test_a_host_that_nobody_disputes_stays_with_its_agent(database: Database, host: str) -> None:
    assert database.write(handover.accept, host, NOW, max_attempts=3) is None
    assert database.read(hosts.known, [host])[host].agent == "a"


def test_what_the_old_agent_leaves_runs_again_while_it_may(
    database: Database,
    host: str,
) -> None:
    plain, again = add(database, host), add(database, host, rerun_on_loss=True)
    tired = add(database, host, rerun_on_loss=True, attempts=2)
    claim(database, host, 3, NOW)
    database.write(hosts.dispute, {host: "b"})
    later: datetime.datetime = NOW + SECOND
    lost = database.write(handover.accept, host, later, max_attempts=3)
    assert lost is not None
    assert (lost.again, set(lost.ended)) == ([again], {plain, tired})
    assert database.read(hosts.known, [host])[host].agent == "b"
    for case in (plain, tired):
        row = database.read(testcases.get, case)
        assert row is not None
        assert (row.state, row.result, row.reason, row.finished_at) == (
            State.FINISHED,
            Result.ERROR,
            Reason.AGENT_LOST,
            later,
        )
    row = database.read(testcases.get, again)
    assert row is not None
    assert (row.state, row.attempt, row.attempts) == (State.QUEUED, None, 1)
