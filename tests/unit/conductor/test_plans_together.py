"""Many conductors that move the same test plan on at the same time."""

from __future__ import annotations

import datetime
import itertools
import random
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
from sqlalchemy import Connection, select, update

from labapi import config
from labapi.case import ACTIVE, State
from labapi.conductor.advance import advance
from labapi.conductor.giving import Giving
from labapi.db.models import TestCase
from labapi.db.session import Database
from labapi.plans.entry import Retry, Rules
from labapi.servicegroup import driver
from tests import plans_to_run as rows
from tests.plans_to_run import entry
from tests.unit.conductor.conftest import Parts

CONDUCTORS = 4
MOVES = 2000  # that one of them makes at most, most of which find nothing to do


def work(url: str, plan: str, seed: int) -> bool:
    """Move a plan on until it is finished, and end its cases like agents; say whether it is."""
    conf = config.new(database__connection=url, database__timeout=60.0)
    conf([], project="labapi", default_config_files=[])
    database = Database(conf)
    giving = Giving(conf, driver.load(conf), lambda host: True)
    chooser = random.Random(seed)
    try:
        for _ in range(MOVES):
            move = database.write(advance, plan, giving, 3)
            if move is None or move.finished:
                return True
            if move.running:
                result = "ERROR" if chooser.random() < 0.2 else "PASS"
                database.write(_end, chooser.choice(sorted(move.running)), result)
        return False
    finally:
        database.close()


def _end(connection: Connection, case: str, result: str) -> None:
    now = datetime.datetime.now(datetime.UTC)
    ended = {"state": State.FINISHED, "result": result, "finished_at": now}
    of_case = (TestCase.uuid == case, TestCase.state.in_((State.QUEUED, *ACTIVE)))
    connection.execute(update(TestCase).where(*of_case).values(ended))


def _processes(workers: int) -> Executor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, _processes])
def test_no_entry_has_two_cases_beside_one_another(
    parts: Parts, pool: Callable[[int], Executor]
) -> None:
    again = Rules(retry=Retry(attempts=9))
    columns = {"host": parts.host, "rules": again}
    entries = [entry(number, turn, **columns) for number, turn in enumerate(TURNS, 1)]
    plan = rows.add(parts.database, entries)
    url = parts.database.url.render_as_string(hide_password=False)
    with pool(CONDUCTORS) as executor:
        done = list(executor.map(work, [url] * CONDUCTORS, [plan] * CONDUCTORS, range(CONDUCTORS)))
    assert done == [True] * CONDUCTORS
    found = rows.entries(parts.database, plan)
    cases = parts.database.read(_cases, plan)
    assert {row.result for row in found} <= {"PASS", "ERROR"}
    assert len(cases) == sum(row.tries for row in found), "each case is a try of an entry"
    assert {row.case for row in found} <= {case.uuid for case in cases}
    for before, after in itertools.pairwise(found):
        if before.turn != after.turn:
            begun = [case.created_at for case in cases if case.uuid == after.case]
            assert before.finished_at <= begun[0], "a turn begins when the one before has ended"


TURNS = [0, 1, 1, 1, 1, 1, 2, 3, 4, 4, 5, 6, 7, 7, 8]


def _cases(connection: Connection, plan: str) -> list[TestCase]:
    columns = (TestCase.uuid, TestCase.created_at)
    return list(connection.execute(select(*columns).where(TestCase.plan == plan)))  # type: ignore[arg-type]
