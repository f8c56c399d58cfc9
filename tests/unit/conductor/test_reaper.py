"""What nobody reports is noticed."""

from __future__ import annotations

import datetime

import pytest

from labapi.case import State
from labapi.db import attempts, hosts
from labapi.rpc.messages import CancelCase, CaseChanged, RunCase
from tests.unit.conductor.conftest import Parts

SECOND = datetime.timedelta(seconds=1)


def now(seconds: float = 0.0) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)


@pytest.fixture
def running(parts: Parts) -> str:
    case = parts.add()
    parts.dispatcher.dispatch([parts.host])
    parts.outbox.take(RunCase)
    parts.set(case, started_at=now())
    return case


def test_a_silent_host_loses_its_running_cases(parts: Parts, running: str) -> None:
    moment = now()
    parts.beat(parts.host, moment)
    parts.reaper.sweep(moment + 59 * SECOND)
    assert parts.get(running).state == State.RUNNING
    parts.reaper.sweep(moment + 62 * SECOND)
    row = parts.get(running)
    assert (row.state, row.result, row.reason) == (State.FINISHED, "ERROR", "agent_lost")
    assert running in [event.case for event in parts.outbox.take(CaseChanged)]


def test_a_lost_case_that_may_runs_again_on_its_host(parts: Parts) -> None:
    case = parts.add(rerun_on_loss=True)
    parts.dispatcher.dispatch([parts.host])
    (first,) = parts.outbox.take(RunCase)
    parts.reaper.sweep(now(62))
    row = parts.get(case)
    assert (row.state, row.attempt) == (State.QUEUED, None)
    parts.beat(parts.host, now())
    parts.dispatcher.dispatch([parts.host])
    (second,) = parts.outbox.take(RunCase)
    assert (second.case, second.attempt != first.attempt) == (case, True)


def test_a_case_that_is_not_reported_in_time(parts: Parts, running: str) -> None:
    late = now(10 + 60 + 1)  # its timeout, [conductor] report_timeout
    parts.beat(parts.host, late)
    parts.reaper.sweep(late)
    row = parts.get(running)
    assert (row.result, row.reason) == ("ERROR", "agent_lost")
    assert "did not report" in row.detail


def test_a_case_that_waits_too_long(parts: Parts) -> None:
    moment = now()
    parts.beat(parts.host, now(-999))
    case = parts.add(created_at=moment)
    parts.reaper.sweep(moment + 3599 * SECOND)
    assert parts.get(case).state == State.QUEUED
    parts.reaper.sweep(moment + 3602 * SECOND)
    row = parts.get(case)
    assert (row.result, row.reason) == ("ERROR", "expired")


def test_a_cancel_is_repeated_until_it_is_answered(parts: Parts, running: str) -> None:
    parts.database.write(attempts.request_cancel, running, now())
    for _ in range(2):
        parts.reaper.sweep(now(7))
        assert running in [c.case for c in parts.outbox.take(CancelCase)]


def test_a_cancelled_case_of_a_lost_host_ends(parts: Parts, running: str) -> None:
    parts.database.write(attempts.request_cancel, running, now())
    parts.reaper.sweep(now(62))
    assert parts.get(running).state == State.FINISHED


def test_what_waited_for_nobody_is_found_by_the_sweep(parts: Parts) -> None:
    case = parts.add()
    parts.reaper.sweep(now())
    assert case in [command.case for command in parts.outbox.take(RunCase)]


def test_finished_cases_stay_as_they_are(parts: Parts, running: str) -> None:
    parts.set(running, state=State.FINISHED, result="PASS")
    parts.reaper.sweep(now(9999))
    assert parts.get(running).result == "PASS"


def test_hosts_keep_their_last_word(parts: Parts) -> None:
    parts.beat(parts.host, now(-5), stopped=True)
    parts.beat(parts.host, now())
    (row,) = parts.database.read(hosts.heard, [parts.host])
    assert not row.stopped
