from __future__ import annotations

import datetime

from labapi.case import State
from labapi.conductor.reaper import BINARY
from labapi.db import attempts, services
from labapi.rpc.messages import CancelCase, CaseChanged, RunCase, Wake
from labapi.rpc.transport import agent_key
from tests.unit.conductor.conftest import Parts, after


def test_a_waiting_case_becomes_a_command(parts: Parts) -> None:
    case = parts.add(parameters={"command": "ls"}, timeout=7.0)
    parts.dispatcher.handle([Wake(hosts=[parts.host])])
    (command,) = parts.outbox.take(RunCase)
    row = parts.get(case)
    assert (command.case, command.attempt, command.host) == (case, row.attempt, parts.host)
    assert (command.parameters, command.timeout) == ({"command": "ls"}, 7.0)
    assert row.state == State.RUNNING


def test_a_hint_that_comes_twice_changes_nothing(parts: Parts) -> None:
    parts.add()
    parts.dispatcher.handle([Wake(hosts=[parts.host]), Wake(hosts=[parts.host])])
    parts.dispatcher.handle([Wake(hosts=[parts.host])])
    assert len(parts.outbox.take(RunCase)) == 1


def test_the_most_urgent_first_then_the_oldest(parts: Parts) -> None:
    slow, second, urgent = parts.add(queue_rank=5), parts.add(), parts.add(queue_rank=-5)
    third = parts.add()
    parts.dispatcher.dispatch([parts.host])
    ran = [command.case for command in parts.outbox.take(RunCase)]
    assert ran == [urgent, second, third, slow]


def test_a_host_gets_no_more_than_it_has_room_for(parts: Parts) -> None:
    cases = [parts.add() for _ in range(6)]
    parts.dispatcher.dispatch([parts.host])
    assert [c.case for c in parts.outbox.take(RunCase)] == cases[:4]
    parts.dispatcher.dispatch([parts.host])
    assert parts.outbox.take(RunCase) == []


def test_a_host_that_is_down_gets_nothing(parts: Parts) -> None:
    case = parts.add()
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=61)
    parts.beat(parts.host, long_ago)
    parts.dispatcher.dispatch([parts.host])
    assert parts.outbox.take(RunCase) == []
    assert parts.get(case).state == State.QUEUED


def test_a_host_that_said_goodbye_gets_nothing(parts: Parts) -> None:
    parts.add()
    parts.beat(parts.host, datetime.datetime.now(datetime.UTC), stopped=True)
    parts.dispatcher.dispatch([parts.host])
    assert parts.outbox.take(RunCase) == []


def test_a_disabled_host_gets_nothing_new(parts: Parts) -> None:
    parts.add()
    switch = {"disabled": True, "reason": "moving"}
    assert parts.database.write(services.switch, "labapi-agent", parts.host, **switch)
    parts.dispatcher.dispatch([parts.host])
    assert parts.outbox.take(RunCase) == []
    parts.database.write(services.switch, "labapi-agent", parts.host, disabled=False, reason=None)
    parts.dispatcher.dispatch([parts.host])
    assert len(parts.outbox.take(RunCase)) == 1


def test_a_broker_that_is_away_delays_a_case(parts: Parts) -> None:
    case = parts.add()
    parts.outbox.away = True
    parts.dispatcher.dispatch([parts.host])
    attempt = parts.get(case).attempt
    parts.outbox.away = False
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=31)
    parts.beat(parts.host, later)
    parts.sweep(later)
    (command,) = [c for c in parts.outbox.take(RunCase) if c.case == case]
    assert command.attempt == attempt, "what may have arrived is resent with the same attempt"


def test_a_host_without_a_queue_lets_its_case_wait(parts: Parts) -> None:
    case = parts.add()
    parts.outbox.unroutable = {agent_key(parts.host)}
    parts.dispatcher.dispatch([parts.host])
    row = parts.get(case)
    assert (row.state, row.attempt) == (State.QUEUED, None)
    changes = [(event.case, event.state) for event in parts.outbox.take(CaseChanged)]
    assert changes == [(case, State.RUNNING), (case, State.QUEUED)]
    assert row.attempts == 0, "an attempt that nobody got does not count"
    assert "queue does not exist" in row.detail


def test_a_resent_command_without_a_queue_proves_nothing(parts: Parts) -> None:
    """Its agent may have got it before, and have begun."""
    case = parts.add()
    parts.dispatcher.dispatch([parts.host])
    attempt = parts.get(case).attempt
    parts.outbox.unroutable = {agent_key(parts.host)}
    parts.dispatcher.arrived([parts.host])
    row = parts.get(case)
    assert (row.state, row.attempt) == (State.RUNNING, attempt)


def test_only_what_is_cancelling_is_cancelled(parts: Parts) -> None:
    running, cancelling = parts.add(), parts.add()
    parts.dispatcher.dispatch([parts.host])
    parts.database.write(attempts.request_cancel, cancelling, datetime.datetime.now(datetime.UTC))
    parts.dispatcher.handle([Wake(cancelled=[running, cancelling, "no such case"])])
    assert [c.case for c in parts.outbox.take(CancelCase)] == [cancelling]


def test_an_agent_that_comes_back_is_sent_what_it_had_not_begun(parts: Parts) -> None:
    unbegun, begun = parts.add(), parts.add()
    parts.dispatcher.dispatch([parts.host])
    parts.set(begun, started_at=datetime.datetime.now(datetime.UTC))
    parts.outbox.take(RunCase)
    parts.dispatcher.arrived([parts.host])
    assert [c.case for c in parts.outbox.take(RunCase)] == [unbegun]


def test_conductors_are_services_too(parts: Parts) -> None:
    parts.sweep(datetime.datetime.now(datetime.UTC))
    assert parts.database.read(services.every, binary=BINARY)


def test_a_case_that_the_api_gave_to_its_host_is_sent(parts: Parts) -> None:
    case = parts.add(state=State.RUNNING, attempt="a-1", attempts=1, parameters={"x": 1})
    parts.dispatcher.handle([Wake(given=[case])])
    (command,) = parts.outbox.take(RunCase)
    assert (command.case, command.attempt, command.agent) == (case, "a-1", "a")
    assert command.parameters == {"x": 1}


def test_what_a_hint_says_is_looked_up(parts: Parts) -> None:
    """Write access to the conductors' queue has them sign nothing that nobody asked the API."""
    waits = parts.add()
    begun = parts.add(state=State.RUNNING, attempt="a-2", started_at=after(0))
    ending = parts.add(state=State.CANCELLING, attempt="a-3")
    over = parts.add(state=State.FINISHED, attempt="a-4")
    parts.dispatcher.handle([Wake(given=[waits, begun, ending, over, "no-such-case"])])
    assert parts.outbox.take(RunCase) == []
    assert parts.get(waits).state == State.QUEUED


def test_a_given_case_whose_host_has_no_queue_waits(parts: Parts) -> None:
    case = parts.add(state=State.RUNNING, attempt="a-5", attempts=1)
    parts.outbox.unroutable.add(agent_key(parts.host))
    parts.dispatcher.handle([Wake(given=[case])])
    row = parts.get(case)
    assert (row.state, row.attempt) == (State.QUEUED, None)
