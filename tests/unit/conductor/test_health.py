"""Hosts that the lab's faults meet again and again are benched, and come back."""

from __future__ import annotations

import datetime
import json
import logging
import threading
from typing import Any

import pytest

from labapi.case import Reason, Result, State
from labapi.conductor.health import Health
from labapi.db import attempts, groups, handover, health, hosts
from labapi.db.session import Record
from labapi.rpc.messages import CaseResult, RunCase
from tests.unit.conductor.conftest import Parts

PAUSE = 300.0
CASE = {"plugin": "linux_system", "method": "run_shell", "parameters": {"command": "true"}}


def now(seconds: float = 0.0) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)


class Ward(Parts):
    """The conductor's parts, of which health is looked at."""

    def __init__(self, parts: Parts) -> None:
        vars(self).update(vars(parts))
        self.health = Health(
            self.conf, self.database, self.dispatcher.liveness, self.dispatcher.send_given
        )

    def host_row(self) -> Record:
        row = self.database.read(hosts.named, self.host)
        assert row is not None
        return row

    def is_bad(self) -> bool:
        return self.host_row().bad_since is not None

    def running(self, **values: Any) -> str:
        case = self.add(user_id="u", **values)
        self.set(case, state=State.RUNNING, attempt=f"a-{case}", attempts=1, dispatched_at=now())
        return case

    def report(self, case: str, result: Result = Result.ERROR, reason: str | None = None) -> None:
        message = CaseResult(
            case=case, attempt=self.get(case).attempt, host=self.host, result=result, reason=reason
        )
        self.reports.handle([message])

    def fault(self, reason: str = Reason.NO_SPACE) -> None:
        self.report(self.running(), reason=reason)

    def lose(self, *cases: str) -> None:
        given = {case: self.get(case).attempt for case in cases}
        self.database.write(attempts.lose, given, now(), "silence", max_attempts=3)

    def bench(self) -> None:
        for _ in range(5):
            self.fault()
        self.health.sweep(now())
        assert self.is_bad()

    def sweep_later(self, seconds: float) -> None:
        """Sweep when the host was just heard of."""
        self.beat(self.host, now(seconds))
        self.health.sweep(now(seconds))

    def give_health_case(self) -> None:
        values = {"name": f"g-{self.host}", "meta": {}, "health_case": CASE}
        self.database.write(groups.create, values, [self.host], [], now())

    def sent(self) -> list[RunCase]:
        return [run for run in self.outbox.take(RunCase) if run.host == self.host]


@pytest.fixture
def ward(parts: Parts) -> Ward:
    return Ward(parts)


def test_enough_faults_within_the_window_bench_a_host(
    ward: Ward, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "labapi.audit")
    for _ in range(4):
        ward.fault()
    ward.health.sweep(now())
    assert not ward.is_bad()
    ward.fault(Reason.AGENT_RESTARTED)
    moment = now()
    ward.health.sweep(moment)
    why = "5 faults of the lab or more within 3600 s (agent_restarted, no_space)"
    row = ward.host_row()
    assert (row.bad_since, row.bad_reason) == (moment, why)
    (record,) = [one for one in caplog.records if one.name == "labapi.audit"]
    line = json.loads(record.getMessage())
    assert line.pop("time")
    assert line == {
        "user": "labapi",
        "action": "health:bench",
        "target": ward.host,
        "reason": why,
    }


def test_old_faults_speak_against_nobody_and_are_forgotten(ward: Ward) -> None:
    for _ in range(5):
        ward.fault()
    ward.health.sweep(now(3601))
    assert not ward.is_bad()
    assert ward.database.write(health.purge, now(3601)) >= 5
    ward.health.sweep(now())
    assert not ward.is_bad()


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (Result.FAIL, None),
        (Result.TIMEOUT, Reason.TIMEOUT),
        (Result.CANCELLED, Reason.CANCELLED),
        (Result.ERROR, Reason.CANNOT_START),
        (Result.ERROR, Reason.EXCEPTION),
        (Result.ERROR, Reason.CANNOT_FETCH),
        (Result.ERROR, Reason.REJECTED),
        (Result.ERROR, Reason.AGENT_STOPPED),
        (Result.ERROR, "no_such_word"),
    ],
)
def test_what_a_case_asks_for_benches_no_host(
    ward: Ward, result: Result, reason: str | None
) -> None:
    for _ in range(6):
        ward.report(ward.running(), result, reason)
    ward.health.sweep(now())
    assert not ward.is_bad()


def test_cases_that_are_lost_together_count_once(ward: Ward) -> None:
    def lose() -> None:
        ward.lose(ward.running(), ward.running(), ward.running(rerun_on_loss=True))

    for _ in range(4):
        lose()
    ward.health.sweep(now())
    assert not ward.is_bad()
    ward.lose(ward.running(rerun_on_loss=True))
    ward.health.sweep(now())
    assert ward.is_bad()


def test_a_host_that_is_given_to_another_agent_begins_anew(ward: Ward) -> None:
    for _ in range(5):
        ward.fault()
    ward.running()
    ward.database.write(hosts.dispute, {ward.host: "b"})
    ward.database.write(handover.accept, ward.host, now(), max_attempts=1)
    ward.health.sweep(now())
    assert not ward.is_bad()


def test_a_benched_host_is_given_nothing(ward: Ward) -> None:
    ward.bench()
    case = ward.add(user_id="u")
    ward.dispatcher.dispatch([ward.host])
    assert ward.get(case).state == State.QUEUED
    ward.database.write(health.clear, ward.host)
    ward.dispatcher.dispatch([ward.host])
    assert ward.get(case).state == State.RUNNING
    ward.health.sweep(now())
    assert not ward.is_bad()  # what was is forgotten


def test_a_health_case_that_passes_brings_a_host_back(
    ward: Ward, caplog: pytest.LogCaptureFixture
) -> None:
    ward.give_health_case()
    ward.bench()
    caplog.set_level(logging.INFO, "labapi.audit")
    ward.outbox.take(RunCase)
    ward.sweep_later(PAUSE - 10)
    assert ward.sent() == []
    ward.sweep_later(PAUSE + 1)
    ward.sweep_later(3 * PAUSE)  # it has not ended
    (run,) = ward.sent()
    assert (run.method, run.parameters, run.rank) == ("run_shell", {"command": "true"}, -1000)
    case = ward.get(run.case)
    assert (case.project_id, case.user_id, case.timeout) == (None, None, 600.0)
    ward.report(run.case, Result.PASS)
    ward.health.sweep(now())
    assert not ward.is_bad()
    line = json.loads(caplog.records[-1].getMessage())
    assert (line["action"], line["target"]) == ("health:clear", ward.host)
    assert run.case in line["reason"]


def test_one_that_fails_is_given_again_after_a_while(ward: Ward) -> None:
    ward.give_health_case()
    ward.bench()
    ward.outbox.take(RunCase)
    ward.sweep_later(PAUSE + 1)
    (run,) = ward.sent()
    ward.report(run.case, Result.FAIL)
    ward.sweep_later(PAUSE + 2)
    assert (ward.sent(), ward.is_bad()) == ([], True)
    ward.sweep_later(2 * PAUSE + 2)
    (second,) = ward.sent()
    assert second.case != run.case


def test_a_host_that_is_down_or_disabled_is_not_tried(ward: Ward) -> None:
    ward.give_health_case()
    ward.bench()
    ward.outbox.take(RunCase)
    ward.health.sweep(now(2 * PAUSE))
    assert ward.sent() == []


def test_one_whose_command_no_queue_takes_is_given_up_and_made_anew(ward: Ward) -> None:
    ward.give_health_case()
    ward.bench()
    ward.outbox.take(RunCase)
    ward.outbox.unroutable.add(f"agent.{ward.host}")
    ward.sweep_later(PAUSE + 1)
    (run,) = ward.sent()
    assert ward.get(run.case).state == State.QUEUED
    ward.outbox.unroutable.clear()
    ward.sweep_later(2 * PAUSE + 2)
    (second,) = ward.sent()
    assert ward.get(run.case).reason == Reason.EXPIRED
    ward.report(second.case, Result.PASS)
    ward.health.sweep(now())
    assert not ward.is_bad()


def test_who_was_benched_by_an_administrator_is_not_tried(ward: Ward) -> None:
    ward.give_health_case()
    ward.database.write(health.bench, ward.host, now(), "the fan is loud", "alice")
    ward.sweep_later(PAUSE + 1)
    assert ward.sent() == []
    # One that was benched already stays so since then, and for the administrator's reason.
    since = ward.host_row().bad_since
    ward.database.write(health.bench, ward.host, now(5), "and hot", "bob")
    row = ward.host_row()
    assert (row.bad_since, row.bad_reason) == (since, "and hot")


def test_a_case_that_passed_does_not_undo_an_administrators_word(ward: Ward) -> None:
    ward.give_health_case()
    ward.bench()
    ward.outbox.take(RunCase)
    ward.sweep_later(PAUSE + 1)
    (run,) = ward.sent()
    ward.database.write(health.bench, ward.host, now(), "the fan is loud", "alice")
    ward.report(run.case, Result.PASS)
    ward.health.sweep(now())
    assert ward.is_bad()
    assert not ward.database.write(health.pass_case, ward.host, ward.host_row().bad_since)


def test_conductors_that_sweep_at_once_bench_once_and_give_one_case(
    ward: Ward, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "labapi.audit")
    ward.give_health_case()
    for _ in range(5):
        ward.fault()

    def at_once(moment: datetime.datetime) -> None:
        start = threading.Barrier(3)

        def sweep() -> None:
            start.wait()
            ward.health.sweep(moment)

        threads = [threading.Thread(target=sweep) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    at_once(now())
    mine = [one for one in caplog.records if f'"target": "{ward.host}"' in one.getMessage()]
    assert len(mine) == 1
    ward.outbox.take(RunCase)
    ward.beat(ward.host, now(PAUSE + 1))
    at_once(now(PAUSE + 1))
    (run,) = ward.sent()
    ward.report(run.case, Result.PASS)
    at_once(now())
    mine = [one for one in caplog.records if f'"target": "{ward.host}"' in one.getMessage()]
    assert len(mine) == 2
