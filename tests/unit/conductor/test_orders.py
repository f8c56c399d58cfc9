"""Attempts that were given up end on their hosts, and nothing of them runs twice."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from labapi.case import State
from labapi.conductor.heartbeats import Heartbeats
from labapi.db import attempts, hosts, outputs
from labapi.db.session import Database
from labapi.rpc.messages import (
    Announce,
    CancelCase,
    CaseChanged,
    CaseResult,
    CaseStarted,
    Heartbeat,
    Introduce,
    Output,
    RunCase,
)
from labapi.servicegroup import driver
from tests.unit.conductor.conftest import Parts


class Lab(Parts):
    """A conductor's parts, and an agent that has announced itself."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.heartbeats = Heartbeats(
            self.conf,
            database,
            self.outbox,
            self.dispatcher.arrived,
            liveness=driver.load(self.conf),
        )
        self.hello()
        self.outbox.sent.clear()

    def hello(self, journal: str = "j1", session: str = "s1", **held: str) -> None:
        message = Announce(
            host=self.host,
            agent="a",
            journal=journal,
            session=session,
            held=held,
            address=None,
            release="1",
            slots=4,
            plugins={},
        )
        self.heartbeats.handle([message])

    def heartbeat(self, session: str | None = "s1", **held: str) -> None:
        beat = Heartbeat(host=self.host, agent="a", clock=0.0, session=session, held=held)
        self.heartbeats.handle([beat])

    def run(self, **values: Any) -> RunCase:
        self.add(**values)
        self.dispatcher.dispatch([self.host])
        (command,) = self.outbox.take(RunCase)
        assert isinstance(command, RunCase)
        return command

    def lose(self, command: RunCase) -> None:
        now = datetime.datetime.now(datetime.UTC)
        self.database.write(
            attempts.lose, {command.case: command.attempt}, now, "silent", max_attempts=3
        )

    def orders(self) -> list[tuple[str, str, str]]:
        return [(o.case, o.attempt, o.host) for o in self.outbox.take(CancelCase)]


@pytest.fixture
def lab(database: Database) -> Lab:
    return Lab(database)


def names(command: RunCase) -> dict[str, str]:
    return {"case": command.case, "attempt": command.attempt, "host": command.host}


def held(command: RunCase) -> dict[str, str]:
    return {command.attempt: command.case}


@pytest.mark.parametrize("rerun", [False, True])
def test_an_agent_that_goes_on_with_a_lost_attempt_is_told_to_end_it(lab: Lab, rerun: bool) -> None:
    command = lab.run(rerun_on_loss=rerun)
    order = tuple(names(command).values())
    for report in (CaseStarted(**names(command)), Output(**names(command), offset=0, data=b"x")):
        lab.reports.handle([report])
        assert lab.orders() == []
    lab.heartbeat(**held(command))
    assert lab.orders() == []
    lab.lose(command)
    lab.heartbeat(**held(command))
    assert lab.orders() == [order]
    for report in (CaseStarted(**names(command)), Output(**names(command), offset=1, data=b"y")):
        lab.reports.handle([report])
        assert lab.orders() == [order]
    lab.reports.handle([CaseResult(**names(command), result="CANCELLED")])
    assert lab.orders() == []
    row = lab.get(command.case)
    if rerun:  # it has another attempt by now
        assert (row.state, row.result) == (State.RUNNING, None)
        assert row.attempt != command.attempt
    else:
        assert (row.state, row.result, row.reason) == (State.FINISHED, "ERROR", "agent_lost")


def test_a_late_piece_of_output_of_a_case_that_has_ended_is_no_reason_to_end_it(lab: Lab) -> None:
    command = lab.run()
    lab.reports.handle([CaseResult(**names(command), result="PASS", output_offset=3)])
    lab.reports.handle([Output(**names(command), offset=0, data=b"abc")])
    assert lab.orders() == []
    row = lab.get(command.case)
    assert [r.data for r in lab.database.read(outputs.read, row.id, 0, 9)] == [b"abc"]


def test_a_host_is_told_of_its_own_attempts_only(lab: Lab) -> None:
    mine = lab.run()
    other = Heartbeat(host="somebody", agent="b", clock=0.0, held=held(mine))
    lab.heartbeats.handle([other])
    assert lab.orders() == [(mine.case, mine.attempt, "somebody")]
    assert lab.get(mine.case).state == State.RUNNING


def test_heartbeats_of_hosts_with_nothing_in_hand_cost_no_query_and_all_others_one(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = [lab.run() for _ in range(3)]
    read, queries = lab.database.read, []

    def counted(query: Any, *args: Any, **kwargs: Any) -> Any:
        queries.append(query)
        return read(query, *args, **kwargs)

    monkeypatch.setattr(lab.database, "read", counted)
    lab.heartbeat()
    assert queries == []
    beats = [
        Heartbeat(host=lab.host, agent="a", clock=0.0, session="s1", held=held(command))
        for command in commands
    ]
    lab.heartbeats.handle(list(beats))
    assert queries == [attempts.rightly_held]
    assert lab.orders() == []


def test_commands_name_the_session_of_their_host(lab: Lab) -> None:
    assert lab.run().session == "s1"
    lab.hello(session="s2")
    (again,) = lab.outbox.take(RunCase)
    assert again.session == "s2"
    assert lab.run().session == "s2"


def test_a_host_in_another_session_is_asked_to_announce_itself(lab: Lab) -> None:
    lab.heartbeat()
    assert lab.outbox.take(Introduce) == []
    lab.heartbeat(session="s2")
    assert [m.host for m in lab.outbox.take(Introduce)] == [lab.host]
    lab.hello(session="s2")
    lab.heartbeat(session="s2")
    assert lab.outbox.take(Introduce) == []


def test_what_an_agent_may_have_forgotten_is_lost_and_not_resent(lab: Lab) -> None:
    begun, unbegun, again, reported = (lab.run(rerun_on_loss=n == 2) for n in range(4))
    lab.reports.handle([CaseStarted(**names(begun))])
    lab.outbox.sent.clear()
    lab.hello(journal="j2", session="s2", **held(reported))
    rows = [lab.get(command.case) for command in (begun, unbegun)]
    assert [(r.state, r.result, r.reason) for r in rows] == [
        (State.FINISHED, "ERROR", "agent_lost")
    ] * 2
    assert "journal" in rows[0].detail
    changes = [(e.case, e.state) for e in lab.outbox.take(CaseChanged)]
    assert set(changes[:3]) == {(again.case, "queued"), *((r.uuid, "finished") for r in rows)}
    assert changes[3:] == [(again.case, "running")]
    sent = lab.outbox.take(RunCase)
    assert {c.case for c in sent} == {again.case, reported.case}
    assert again.attempt not in {c.attempt for c in sent}
    lab.reports.handle([CaseResult(**names(reported), result="PASS")])
    assert lab.get(reported.case).result == "PASS"


def test_an_agent_that_keeps_its_journal_keeps_its_cases(lab: Lab) -> None:
    command = lab.run()
    lab.hello(session="s2")
    assert lab.get(command.case).state == State.RUNNING
    assert [c.attempt for c in lab.outbox.take(RunCase)] == [command.attempt]


def test_an_agent_that_takes_a_host_over_begins_with_what_it_is_given(lab: Lab) -> None:
    newer = Announce(
        host=lab.host, agent="b", journal="j9", session="s9", address=None, release="1", plugins={}
    )
    lab.heartbeats.handle([newer])
    assert lab.database.write(hosts.accept, lab.host)
    command = lab.run()
    assert (command.agent, command.session) == ("b", None)
    lab.heartbeats.handle([newer])
    assert lab.get(command.case).state == State.RUNNING


@pytest.mark.parametrize("begun", [False, True])
def test_a_host_that_is_up_is_told_of_verdicts(lab: Lab, begun: bool) -> None:
    command = lab.run()
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    times = {"dispatched_at": long_ago, "created_at": long_ago}
    lab.set(command.case, **times, **({"started_at": long_ago} if begun else {}))
    for seconds in range(0, 200, 2):
        moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
        lab.beat(lab.host, moment)
        lab.reaper.sweep(moment)
    row = lab.get(command.case)
    assert (row.state, row.reason) == (State.FINISHED, "agent_lost" if begun else "expired")
    assert lab.orders() == [tuple(names(command).values())]


def test_what_has_ended_as_it_should_needs_no_order(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    command = lab.run()
    result = CaseResult(case=command.case, attempt=command.attempt, host=lab.host, result="PASS")
    lab.reports.handle([result])
    lab.heartbeat(**{command.attempt: command.case})  # it was on its way meanwhile
    assert lab.orders() == []
    assert "given up" not in caplog.text
