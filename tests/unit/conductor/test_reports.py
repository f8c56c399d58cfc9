"""What a report changes, and which reports change nothing."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from labapi.case import State
from labapi.conductor.remarks import REFUSED
from labapi.db import outputs
from labapi.rpc.messages import (
    CaseChanged,
    CaseRefused,
    CaseResult,
    CaseStarted,
    Output,
    RunCase,
)
from tests.unit.conductor.conftest import Parts


@pytest.fixture
def command(parts: Parts) -> RunCase:
    parts.add(rerun_on_loss=False)
    return dispatched(parts)


def dispatched(parts: Parts) -> RunCase:
    parts.dispatcher.dispatch([parts.host])
    (found,) = parts.outbox.take(RunCase)
    parts.outbox.take(CaseChanged)
    command: RunCase = found
    return command


def result(command: RunCase, **values: Any) -> CaseResult:
    report = {
        "case": command.case,
        "attempt": command.attempt,
        "host": command.host,
        "result": "PASS",
        "exit_code": 0,
        "ran": 0.0,
        "output": b"hello\n",
        "output_size": 6,
    }
    return CaseResult(**{**report, **values})


def test_a_result_finishes_its_case(parts: Parts, command: RunCase) -> None:
    parts.reports.handle([result(command, data={"x": 1}, detail="fine")])
    row = parts.get(command.case)
    assert (row.state, row.result, row.exit_code) == (State.FINISHED, "PASS", 0)
    assert (row.data, row.detail, row.output_size) == ({"x": 1}, "fine", 6)
    assert row.dispatched_at <= row.started_at <= row.finished_at
    assert [r.data for r in parts.database.read(outputs.read, row.id, 0, 9)] == [b"hello\n"]
    (event,) = parts.outbox.take(CaseChanged)
    assert (event.case, event.result) == (command.case, "PASS")


def test_the_first_result_counts(parts: Parts, command: RunCase) -> None:
    parts.reports.handle([result(command), result(command, result="FAIL")])
    parts.reports.handle([result(command, result="ERROR")])
    assert parts.get(command.case).result == "PASS"


@pytest.mark.parametrize(
    "forged",
    [
        {"attempt": "0" * 32 + "-1"},
        {"attempt": ""},
        {"host": "another-host"},
        {"case": "6b9e675c-728d-4eb7-9b9f-cc76ebdd4381"},
    ],
)
def test_a_report_of_another_attempt_or_host_changes_nothing(
    parts: Parts, command: RunCase, forged: dict[str, str]
) -> None:
    before = parts.get(command.case)
    names = {"case": command.case, "attempt": command.attempt, "host": command.host, **forged}
    parts.reports.handle(
        [
            result(command, **forged),
            CaseStarted(**names),
            Output(**names, offset=0, data=b"forged"),
        ]
    )
    assert parts.get(command.case) == before
    assert parts.database.read(outputs.read, before.id, 0, 9) == []
    assert parts.outbox.take(CaseChanged) == []


def test_output_and_start_come_before_the_result(parts: Parts, command: RunCase) -> None:
    names = {"case": command.case, "attempt": command.attempt, "host": command.host}
    parts.reports.handle([CaseStarted(**names), Output(**names, offset=0, data=b"one")])
    row = parts.get(command.case)
    assert (row.state, row.started_at is not None) == (State.RUNNING, True)
    parts.reports.handle([result(command, output_offset=3, output=b"two", output_size=6)])
    pieces = [r.data for r in parts.database.read(outputs.read, row.id, 0, 9)]
    assert pieces == [b"one", b"two"]


@pytest.mark.parametrize("age", [1e9, -1e9])
def test_times_that_cannot_be_are_cut(parts: Parts, command: RunCase, age: float) -> None:
    parts.reports.handle([result(command, age=age, ran=age)])
    row = parts.get(command.case)
    assert row.dispatched_at <= row.started_at <= row.finished_at
    assert row.finished_at <= datetime.datetime.now(datetime.UTC)


def test_a_result_makes_room_for_the_next_case(parts: Parts) -> None:
    cases = [parts.add() for _ in range(5)]
    parts.dispatcher.dispatch([parts.host])
    first = parts.outbox.take(RunCase)[0]
    parts.reports.handle([result(first)])
    assert [c.case for c in parts.outbox.take(RunCase)] == [cases[4]]


def test_a_case_that_may_runs_again_when_its_agent_was_restarted(parts: Parts) -> None:
    case = parts.add(rerun_on_loss=True)
    attempts = []
    for _ in range(3):
        command = dispatched(parts)
        attempts.append(command.attempt)
        parts.reports.handle([result(command, result="ERROR", reason="agent_restarted")])
        announced = next(event.state for event in parts.outbox.take(CaseChanged))
        assert announced == (State.QUEUED if len(attempts) < 3 else State.FINISHED)
    assert len(set(attempts)) == 3
    row = parts.get(case)
    assert (row.state, row.reason) == (State.FINISHED, "agent_restarted"), "not for ever"


def test_no_other_case_runs_again(parts: Parts, command: RunCase) -> None:
    parts.reports.handle([result(command, result="ERROR", reason="agent_restarted")])
    assert parts.get(command.case).result == "ERROR"
    assert parts.outbox.take(RunCase) == []


def test_an_error_of_the_method_is_no_loss(parts: Parts) -> None:
    case = parts.add(rerun_on_loss=True)
    parts.reports.handle([result(dispatched(parts), result="ERROR", reason="exception")])
    assert parts.get(case).result == "ERROR"


def test_the_size_of_the_output_is_known_before_the_end_and_never_forgotten(
    parts: Parts, command: RunCase
) -> None:
    names = {"case": command.case, "attempt": command.attempt, "host": command.host}
    parts.reports.handle([Output(**names, offset=0, data=b"x" * 9)])
    assert parts.get(command.case).output_size == 9
    lost = {"result": "ERROR", "reason": "agent_restarted", "output": b"", "output_size": 0}
    parts.reports.handle([result(command, **lost)])
    assert parts.get(command.case).output_size == 9


def test_output_beyond_the_limit_is_dropped(parts: Parts, command: RunCase) -> None:
    names = {"case": command.case, "attempt": command.attempt, "host": command.host}
    parts.reports.handle([Output(**names, offset=1 << 40, data=b"x")])
    row = parts.get(command.case)
    assert (row.output_size, parts.database.read(outputs.read, row.id, 0, 9)) == (0, [])


@pytest.fixture
def small(parts: Parts) -> Iterator[int]:
    """Have a conductor keep few bytes of a case's output."""
    before, parts.reports._max_output = parts.reports._max_output, 20
    yield 20
    parts.reports._max_output = before


def kept(parts: Parts, command: RunCase) -> list[tuple[int, bytes]]:
    row = parts.get(command.case)
    return [(r.offset, r.data) for r in parts.database.read(outputs.read, row.id, 0, 99)]


def test_no_byte_of_the_output_is_kept_twice(parts: Parts, command: RunCase, small: int) -> None:
    names = {"case": command.case, "attempt": command.attempt, "host": command.host}
    batch = [Output(**names, offset=n, data=bytes([65 + n]) * 30) for n in range(10)]
    parts.reports.handle(list(batch))
    parts.reports.handle(batch[5:])
    parts.reports.handle([result(command, output=b"z" * 30, output_offset=7)])
    assert kept(parts, command) == [(0, b"A" * small)]


def test_only_what_is_kept_is_waited_for(parts: Parts, command: RunCase, small: int) -> None:
    """A reader waits until so much is there as the row says was sent."""
    parts.reports.handle([result(command, output=b"z" * 30, output_offset=7, output_size=37)])
    row = parts.get(command.case)
    assert (row.output_size, row.output_sent) == (37, small)


def test_pieces_that_come_late_fill_the_gaps(parts: Parts, command: RunCase) -> None:
    names = {"case": command.case, "attempt": command.attempt, "host": command.host}
    for offset, data in ((4, b"ef"), (8, b"ij")):
        parts.reports.handle([Output(**names, offset=offset, data=data)])
    parts.reports.handle([Output(**names, offset=0, data=b"abcdefghijkl")])
    expected = [(0, b"abcd"), (4, b"ef"), (6, b"gh"), (8, b"ij"), (10, b"kl")]
    assert kept(parts, command) == expected
    parts.reports.handle([Output(**names, offset=0, data=b"abcdefghijkl")])
    assert kept(parts, command) == expected


def test_output_before_the_first_piece(parts: Parts, command: RunCase) -> None:
    names = {"case": command.case, "attempt": command.attempt, "host": command.host}
    parts.reports.handle([Output(**names, offset=6, data=b"world")])
    parts.reports.handle([Output(**names, offset=0, data=b"hello ")])
    assert kept(parts, command) == [(0, b"hello "), (6, b"world")]


def test_a_case_that_its_agent_refused_waits_again(parts: Parts, command: RunCase) -> None:
    refusal = CaseRefused(case=command.case, attempt=command.attempt, host=command.host)
    parts.reports.handle([refusal, refusal])
    row = parts.get(command.case)
    assert (row.state, row.attempt, row.attempts, row.detail) == ("queued", None, 0, REFUSED)
    assert [event.state for event in parts.outbox.take(CaseChanged)] == ["queued"]


def test_a_refusal_of_what_runs_or_of_another_host_changes_nothing(
    parts: Parts, command: RunCase
) -> None:
    refusal = CaseRefused(case=command.case, attempt=command.attempt, host=command.host)
    parts.reports.handle([replace(refusal, host="lab-other")])
    assert parts.get(command.case).state == "running"
    started = CaseStarted(case=command.case, attempt=command.attempt, host=command.host)
    parts.reports.handle([started])
    parts.reports.handle([refusal])
    assert parts.get(command.case).state == "running"
    parts.reports.handle([result(command)])
    assert parts.get(command.case).result == "PASS"
