"""What nobody reports is noticed."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from labapi.case import Reason, State
from labapi.conductor.hearing import Hearing
from labapi.conductor.reaper import Reaper
from labapi.db import attempts, hosts, outputs, queue, removal
from labapi.rpc.messages import CancelCase, CaseChanged, CaseStarted, Output, RunCase
from tests.lab import wait_again
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


def sent(parts: Parts, case: str) -> int:
    """Return how often the command of a case was sent."""
    return len([command for command in parts.outbox.take(RunCase) if command.case == case])


def test_a_silent_host_is_down_and_its_cases_are_lost_later(parts: Parts, running: str) -> None:
    moment = now()
    parts.beat(parts.host, moment)
    parts.sweep(moment + 59 * SECOND)
    assert parts.get(running).detail is None
    parts.sweep(moment + 62 * SECOND)
    row = parts.get(running)
    assert row.state == State.RUNNING
    assert row.detail.startswith("the host is down: last heard of at 20")
    parts.sweep(moment + 299 * SECOND)
    assert parts.get(running).state == State.RUNNING
    parts.sweep(moment + 302 * SECOND)
    row = parts.get(running)
    assert (row.state, row.result, row.reason) == (State.FINISHED, "ERROR", "agent_lost")
    assert running in [event.case for event in parts.outbox.take(CaseChanged)]


def test_what_a_host_that_was_down_reports_counts(parts: Parts, running: str) -> None:
    moment = now()
    parts.beat(parts.host, moment)
    parts.sweep(moment + 90 * SECOND)
    parts.beat(parts.host, moment + 91 * SECOND)
    parts.sweep(moment + 92 * SECOND)
    row = parts.get(running)
    assert (row.state, row.detail) == (State.RUNNING, None), "its report may be on its way"
    parts.beat(parts.host, moment + 155 * SECOND)
    parts.sweep(moment + 155 * SECOND)
    assert "did not report" in parts.get(running).detail


def test_a_host_that_was_stopped_is_down_at_once(parts: Parts, running: str) -> None:
    moment = now()
    parts.beat(parts.host, moment, stopped=True)
    parts.sweep(moment + 6 * SECOND)
    assert "its agent was told to stop" in parts.get(running).detail
    parts.sweep(moment + 299 * SECOND)
    assert parts.get(running).state == State.RUNNING
    parts.sweep(moment + 303 * SECOND)
    assert parts.get(running).reason == Reason.AGENT_LOST


@pytest.mark.parametrize(
    "fault", ["asleep", "broker away", "broker reached anew", "clock set back"]
)
def test_nobody_is_silent_while_nobody_can_hear(parts: Parts, running: str, fault: str) -> None:
    moment = now()
    parts.beat(parts.host, moment)
    parts.listen(moment + 4 * SECOND)
    back = moment + 1000 * SECOND
    if fault == "asleep":  # or the database was away: then no sweep comes so far
        parts.awake = back
        parts.hearing.listen(back)
    elif fault == "broker away":
        parts.line = 0
        parts.listen(back)
        parts.line = 2
    elif fault == "broker reached anew":
        # It looked alive until its missing heartbeats were noticed.
        back = moment + 290 * SECOND
        parts.listen(back)
        parts.line = 2
    else:
        parts.listen(moment + 299 * SECOND)
        parts.awake = back = moment + 290 * SECOND
        parts.hearing.listen(back)
    parts.sweep(back + 20 * SECOND)
    row = parts.get(running)
    assert row.state == State.RUNNING
    assert parts.get(running).reason is None
    parts.sweep(back + 350 * SECOND)  # now it could have said something for long enough
    assert parts.get(running).reason == Reason.AGENT_LOST


def test_after_all_conductors_were_gone_each_host_has_its_time(parts: Parts, running: str) -> None:
    moment = now()
    parts.beat(parts.host, moment)
    hearing = Hearing(parts.conf, lambda: 1)
    reaper = Reaper(parts.conf, parts.database, parts.outbox, parts.dispatcher, hearing)
    start = moment + 7200 * SECOND
    for seconds in range(0, 300, 2):
        reaper.sweep(start + seconds * SECOND)
    assert parts.get(running).state == State.RUNNING
    for seconds in range(300, 340, 2):
        reaper.sweep(start + seconds * SECOND)
    assert parts.get(running).reason == Reason.AGENT_LOST


def test_what_another_conductor_hears_counts(parts: Parts, running: str) -> None:
    """This one hears nothing, for all heartbeats go to the other."""
    parts.set(running, timeout=1000.0)
    for seconds in range(0, 400, 10):
        parts.beat(parts.host, now(seconds))
        parts.sweep(now(seconds + 1))
    assert parts.get(running).state == State.RUNNING


def test_a_lost_case_that_may_runs_again_as_if_nothing_had_been(parts: Parts) -> None:
    case = parts.add(rerun_on_loss=True)
    parts.dispatcher.dispatch([parts.host])
    (first,) = parts.outbox.take(RunCase)
    begun = CaseStarted(case=case, attempt=first.attempt, host=parts.host)
    said = Output(case=case, attempt=first.attempt, host=parts.host, offset=0, data=b"x" * 1000)
    parts.reports.handle([begun, said])
    before = parts.get(case)
    assert (before.started_at is not None, before.output_size) == (True, 1000)
    parts.sweep(now(302))
    row = parts.get(case)
    assert (row.state, row.attempt, row.attempts) == (State.QUEUED, None, 1)
    assert (row.started_at, row.dispatched_at, row.output_size) == (None, None, 0)
    assert parts.database.read(outputs.read, row.id, 0, 10) == []
    changes = [event.state for event in parts.outbox.take(CaseChanged) if event.case == case]
    assert changes == [State.RUNNING, State.QUEUED]
    parts.beat(parts.host, now())
    parts.dispatcher.dispatch([parts.host])
    (second,) = parts.outbox.take(RunCase)
    assert (second.case, second.attempt != first.attempt) == (case, True)
    parts.reports.handle([said])  # of the attempt that was given up
    assert parts.get(case).output_size == 0


def test_a_case_is_tried_so_often_and_no_more(parts: Parts) -> None:
    case = parts.add(rerun_on_loss=True, attempts=2)
    parts.dispatcher.dispatch([parts.host])
    parts.sweep(now(302))
    row = parts.get(case)
    assert (row.state, row.reason, row.attempts) == (State.FINISHED, Reason.AGENT_LOST, 3)


@pytest.mark.parametrize("heard", [False, True], ids=["lost", "overdue"])
def test_a_verdict_on_one_attempt_is_none_on_the_next(
    parts: Parts, heard: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two conductors have seen the first; the other one was faster."""
    case = parts.add(rerun_on_loss=True)
    parts.dispatcher.dispatch([parts.host])
    parts.set(case, started_at=now())
    first = parts.get(case).attempt
    moment = now(302)
    if heard:
        parts.beat(parts.host, moment)
    look = parts.reaper._look_at

    def slow(row: Any, *rest: Any) -> None:
        look(row, *rest)
        if row.uuid != case:
            return
        wait_again(parts.database, case, "the other conductor has given it up")
        parts.beat(parts.host, now())
        parts.dispatcher.dispatch([parts.host])

    monkeypatch.setattr(parts.reaper, "_look_at", slow)
    parts.sweep(moment)
    row = parts.get(case)
    assert (row.state, row.attempts, row.reason) == (State.RUNNING, 2, None)
    assert row.attempt != first


def test_a_dead_host_loses_what_it_had_not_begun(parts: Parts) -> None:
    case = parts.add()
    parts.dispatcher.dispatch([parts.host])
    parts.outbox.take(RunCase)
    for seconds in range(10, 310, 10):
        parts.sweep(now(seconds))
    assert sent(parts, case) == 1, "a host that is down is sent nothing"
    assert parts.get(case).reason == Reason.AGENT_LOST


def test_resending_is_not_dispatching(parts: Parts) -> None:
    case = parts.add()
    parts.dispatcher.dispatch([parts.host])
    before = parts.get(case)
    parts.sweep(now(31))
    parts.sweep(now(40))
    assert sent(parts, case) == 2, "once more, after resend_interval"
    row = parts.get(case)
    assert (row.dispatched_at, row.attempts) == (before.dispatched_at, 1)
    assert row.resent_at > before.dispatched_at
    parts.beat(parts.host, now(62))
    parts.sweep(now(62))
    assert sent(parts, case) == 1


def test_what_came_after_its_hosts_goodbye_waits_again(parts: Parts) -> None:
    """The API saw the host as up; the command found nobody and expired."""
    parts.beat(parts.host, now(-1), stopped=True)
    case = parts.add(state=State.RUNNING, attempt="a-1", attempts=1, dispatched_at=now())
    parts.sweep(now(302))
    row = parts.get(case)
    assert (row.state, row.attempt, row.attempts) == (State.QUEUED, None, 0)
    assert row.detail == "the host was stopped before the case came"


def test_a_case_that_is_not_reported_in_time(parts: Parts, running: str) -> None:
    late = now(10 + 60 + 1)  # its timeout, [conductor] report_timeout
    parts.beat(parts.host, late)
    parts.sweep(late)
    row = parts.get(running)
    assert (row.result, row.reason) == ("ERROR", "agent_lost")
    assert "did not report" in row.detail


def test_a_case_that_waits_too_long(parts: Parts) -> None:
    moment = now()
    parts.beat(parts.host, now(-999))
    case = parts.add(created_at=moment)
    parts.sweep(moment + 3599 * SECOND)
    assert parts.get(case).state == State.QUEUED
    parts.sweep(moment + 3602 * SECOND)
    row = parts.get(case)
    assert (row.result, row.reason) == ("ERROR", "expired")


def test_a_cancel_is_repeated_until_it_is_answered(parts: Parts, running: str) -> None:
    parts.database.write(attempts.request_cancel, running, now())
    for _ in range(2):
        parts.sweep(now(7))
        assert running in [c.case for c in parts.outbox.take(CancelCase)]


@pytest.mark.parametrize("rerun", [False, True])
def test_a_cancelled_case_of_a_lost_host_ends(parts: Parts, running: str, rerun: bool) -> None:
    parts.set(running, rerun_on_loss=rerun)
    parts.database.write(attempts.request_cancel, running, now())
    parts.sweep(now(302))
    assert parts.get(running).state == State.FINISHED
    assert parts.database.read(queue.load, [parts.host]) == {}, "nothing is left to drain"


def test_what_waited_for_nobody_is_found_by_the_sweep(parts: Parts) -> None:
    case = parts.add()
    parts.sweep(now())
    assert case in [command.case for command in parts.outbox.take(RunCase)]


def test_what_waits_for_a_host_that_was_removed_ends(parts: Parts) -> None:
    removal.remove(parts.database, parts.host, now())
    cases = [parts.add() for _ in range(2)]  # a plan goes on
    parts.sweep(now())
    for case in cases:
        row = parts.get(case)
        assert (row.state, row.result, row.reason) == (State.FINISHED, "ERROR", "host_removed")
    assert {event.case for event in parts.outbox.take(CaseChanged)} == {*cases}


def test_finished_cases_stay_as_they_are(parts: Parts, running: str) -> None:
    parts.set(running, state=State.FINISHED, result="PASS")
    parts.sweep(now(9999))
    assert parts.get(running).result == "PASS"


def test_hosts_keep_their_last_word(parts: Parts) -> None:
    parts.beat(parts.host, now(-5), stopped=True)
    parts.beat(parts.host, now())
    (row,) = parts.database.read(hosts.heard, [parts.host])
    assert not row.stopped
