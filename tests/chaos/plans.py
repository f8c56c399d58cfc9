"""Test plans that run while things break, and what the rules say must have become of them."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from labapi import config
from labapi.case import Result, State
from labapi.conductor.advance import case_uuid
from labapi.db import plans as queries
from labapi.db.models import TestCase, TestPlan
from labapi.db.session import Database, Record
from labapi.exceptions import DatabaseUnavailable
from labapi.plans.entry import SKIPPED, Retry, Rules
from labapi.plans.results import worst
from tests import plans_to_run
from tests.chaos.cases import Caller, executions
from tests.chaos.lab import HOSTS, PROJECTS, ChaosLab
from tests.plans_to_run import entry

# What the shell of an entry's case does, and how often it is one of these.
SCRIPTS = {"{mark}": 5, "{mark}; sleep 2": 2, "{mark}; exit 1": 2, "{mark}; sleep 1; exit 1": 1}


@dataclass
class Ordered:
    """A plan that was written down.

    :ivar cancelled: somebody asked for its end
    """

    uuid: str
    cancelled: bool = False


class Planner(Caller):
    """Writes plans down with serial and parallel steps, and cancels some of them.

    It speaks to the database, as an API does; conductors find what nobody tells them of.
    """

    def run(self) -> None:
        """Write one plan after another."""
        self._database = opened(self._lab)
        while not self._stopping.wait(self._random.uniform(1, 5)):
            self._one()
        self._database.close()

    def _one(self) -> None:
        plan = Ordered(str(uuid.UUID(int=self._random.getrandbits(128), version=4)))
        values = {
            "uuid": plan.uuid,
            "project_id": PROJECTS[0],
            "stop_on_fail": self._random.random() < 0.3,
        }
        with self._ledger.lock:
            self._ledger.plans.append(plan)
        entries = self._entries(plan.uuid)
        self._insist(lambda: plans_to_run.add(self._database, entries, **values))
        if self._random.random() < 0.3:
            self._stopping.wait(self._random.uniform(0, 10))
            plan.cancelled = True
            now = datetime.datetime.now(datetime.UTC)
            self._insist(lambda: self._database.write(queries.cancel, plan.uuid, now))

    def _insist(self, change: Any) -> None:
        """Change the database, however long that takes."""
        done = False
        while not done:
            with contextlib.suppress(DatabaseUnavailable):
                change()
                done = True

    def _entries(self, plan: str) -> list[dict[str, Any]]:
        """Return entries of some steps in some test cases."""
        entries: list[dict[str, Any]] = []
        turn = 0
        for test_case in range(self._random.randint(1, 3)):
            for step in range(self._random.randint(1, 2)):
                parallel = self._random.random() < 0.5
                for _ in range(self._random.randint(1, 4)):
                    number = len(entries) + 1
                    where = {"test_case": test_case, "step": step}
                    entries.append(self._entry(plan, number, turn, **where))
                    turn += not parallel
                turn += parallel
        return entries

    def _entry(self, plan: str, number: int, turn: int, **values: Any) -> dict[str, Any]:
        mark = f"echo $LABAPI_ATTEMPT >> {self._lab.cases}/{plan}-{number}"
        (script,) = self._random.choices(list(SCRIPTS), list(SCRIPTS.values()))
        args = [f"LABAPI_CHAOS={self._lab.folder}", "sh", "-c", script.format(mark=mark)]
        named = self._random.random() < 0.6
        retry = Retry(on=(Result.FAIL, Result.ERROR), attempts=self._random.randint(2, 3))
        rules = Rules(
            retry=retry if self._random.random() < 0.4 else None,
            continue_on=(Result.FAIL,) if self._random.random() < 0.3 else (),
        )
        return entry(
            number,
            turn,
            always=self._random.random() < 0.2,
            rules=rules,
            host=self._random.choice(HOSTS) if named else None,
            parameters={"command": "env", "args": args},
            columns={"placement": None if named else {}},
            **values,
        )


def opened(lab: ChaosLab) -> Database:
    """Return the lab's database, as it is reached when nothing is between."""
    conf = config.new(database__connection=lab.mariadb.url, database__timeout=3.0)
    conf([], project="labapi", default_config_files=[])
    return Database(conf)


def unfinished(database: Database, plans: Iterable[Ordered]) -> list[str]:
    """Return those of these plans that are not finished."""
    query = select(TestPlan.uuid).where(TestPlan.state == State.FINISHED)
    finished = set(database.read(lambda connection: connection.execute(query).scalars().all()))
    return [plan.uuid for plan in plans if plan.uuid not in finished]


def judge(lab: ChaosLab, database: Database, plans: Iterable[Ordered]) -> list[str]:
    """Say how plans went, and return what is wrong with them now that all have ended."""
    problems, results, tries = [], [], 0
    for ordered in plans:
        row = plans_to_run.plan(database, ordered.uuid)
        entries = plans_to_run.entries(database, ordered.uuid)
        cases = {case.uuid: case for case in database.read(_cases, ordered.uuid)}
        found = [*_of_plan(row, entries, ordered), *_of_cases(row, entries, cases)]
        for one in entries:
            ran = executions(lab.cases, f"{row.uuid}-{one.number}")
            if len(ran) != len(set(ran)) or len(ran) > one.tries:
                found.append(f"entry {one.number} with {one.tries} cases ran as {ran}")
        problems += [f"plan {row.uuid} ({row.state}, {row.result}): {text}" for text in found]
        results.append(row.result)
        tries += sum(one.tries for one in entries)
    counts = {result: results.count(result) for result in sorted(set(map(str, results)))}
    print(f"plans: {len(results)}, {counts}, with {tries} cases")
    return problems


def _cases(connection: Connection, plan: str) -> list[Record]:
    columns = (TestCase.uuid, TestCase.result, TestCase.created_at, TestCase.finished_at)
    return list(connection.execute(select(*columns).where(TestCase.plan == plan)).all())


def _of_plan(plan: Any, entries: list[Any], ordered: Ordered) -> list[str]:
    """Return what is wrong with a plan's result, and with what it skipped."""
    problems = []
    cancelled = plan.reason == "cancelled"
    expected = Result.CANCELLED if cancelled else worst(entry.result for entry in entries)
    if (plan.state, plan.result) != (State.FINISHED, expected):
        problems.append(f"its result is not {expected}")
    if cancelled and not ordered.cancelled:
        problems.append("nobody cancelled it")
    for one in entries:
        broken = any(
            before.turn < one.turn
            and (plan.stop_on_fail or before.test_case == one.test_case)
            and _breaks(before)
            for before in entries
        )
        due = one.always or not (broken or cancelled)
        if one.state not in (State.FINISHED, SKIPPED) or (due and one.state == SKIPPED):
            problems.append(f"entry {one.number} is {one.state}")
        if broken and not one.always and one.state != SKIPPED:
            problems.append(f"entry {one.number} ran after its step was broken")
    return problems


def _breaks(entry: Any) -> bool:
    rules = Rules(continue_on=tuple(entry.rules.get("continue_on", ())))
    return entry.result is not None and rules.breaks(entry.result)


def _of_cases(plan: Any, entries: list[Any], cases: dict[str, Any]) -> list[str]:
    """Return what is wrong with the cases of a plan's entries."""
    problems = []
    if len(cases) != sum(entry.tries for entry in entries):
        problems.append(f"it has {len(cases)} cases")
    ended: dict[int, datetime.datetime] = {}
    for one in entries:
        uuids = [case_uuid(plan.uuid, one.number, nth) for nth in range(1, one.tries + 1)]
        own = [cases[case] for case in uuids if case in cases]
        if one.case != (own[-1].uuid if own else None) or len(own) != one.tries:
            problems.append(f"entry {one.number} has other cases than its own")
        elif own:
            problems += [f"entry {one.number} {text}" for text in _of_tries(plan, one, own)]
            before = (at for turn, at in ended.items() if turn < one.turn)
            if own[0].created_at < max(before, default=own[0].created_at):
                problems.append(f"entry {one.number} began before those before it had ended")
            ended[one.turn] = max(own[-1].finished_at, ended.get(one.turn, own[-1].finished_at))
    return problems


def _of_tries(plan: Any, entry: Any, own: list[Any]) -> list[str]:
    """Return what is wrong with the cases of an entry, oldest first."""
    problems = []
    retry = entry.rules.get("retry") or {"on": (), "attempts": 1}
    if entry.result != own[-1].result:
        problems.append("has another result than its case")
    if any(case.result not in retry["on"] for case in own[:-1]):
        problems.append("ran again without a reason")
    if entry.tries > retry["attempts"]:
        problems.append(f"ran {entry.tries} times")
    again = entry.tries < retry["attempts"] and entry.result in retry["on"]
    if again and (entry.always or plan.reason is None):
        problems.append("did not run again")
    if any(a.finished_at > b.created_at for a, b in itertools.pairwise(own)):
        problems.append("had two cases beside one another")
    return problems
