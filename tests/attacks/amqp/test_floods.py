"""A host that says much costs little: few lines in the log, few orders, few answers."""

from __future__ import annotations

import uuid

import pytest

from labapi.conductor import orders
from labapi.conductor.heartbeats import Heartbeats
from labapi.db.session import Database
from labapi.rpc.messages import Announce, CancelCase, CaseStarted, Heartbeat, Message, Welcome
from labapi.servicegroup import driver
from tests.backends import database  # noqa: F401
from tests.unit.conductor.conftest import Parts

MANY = 5000
BATCH = 200


class Flooded(Parts):
    """A conductor that has heard of one host."""

    def __init__(self, database: Database) -> None:  # noqa: F811
        super().__init__(database)
        self.heartbeats = Heartbeats(
            self.conf,
            database,
            self.outbox,
            self.dispatcher.arrived,
            liveness=driver.load(self.conf),
        )

    def hear(self, said: list[Message]) -> None:
        for begin in range(0, len(said), BATCH):
            batch = said[begin : begin + BATCH]
            self.reports.handle(batch)
            self.heartbeats.handle(batch)

    def beat_of(self, agent: str = "a", **more: object) -> Heartbeat:
        return Heartbeat(host=self.host, agent=agent, clock=0.0, **more)  # type: ignore[arg-type]


@pytest.fixture
def conductor(database: Database) -> Flooded:  # noqa: F811
    return Flooded(database)


def test_invented_attempts(conductor: Flooded, caplog: pytest.LogCaptureFixture) -> None:
    host = conductor.host
    reports = [CaseStarted(case=f"c{i}", attempt="x", host=host) for i in range(MANY)]
    conductor.hear([*reports])
    held = {f"a{i}": f"c{i}" for i in range(1000)}
    conductor.hear([conductor.beat_of(held=held)])
    # Each reader of a queue counts for itself, and a slow machine may begin another window.
    assert 0 < len(conductor.outbox.take(CancelCase)) <= 4 * orders.MOST
    told = [r for r in caplog.records if "counts for nothing" in r.getMessage()]
    assert len(told) == 1


def test_one_host_that_invents_attempts_takes_the_orders_of_no_other(conductor: Flooded) -> None:
    reports = [CaseStarted(case=f"c{i}", attempt="x", host=conductor.host) for i in range(BATCH)]
    conductor.reports.handle([*reports])
    conductor.outbox.take(CancelCase)
    conductor.reports.handle([*reports, CaseStarted(case="c", attempt="x", host="other")])
    assert "other" in {order.host for order in conductor.outbox.take(CancelCase)}


def test_challenges(conductor: Flooded) -> None:
    challenges = [uuid.uuid4().hex for _ in range(BATCH)]
    conductor.hear([conductor.beat_of(challenge=one) for one in challenges])
    assert [w.challenge for w in conductor.outbox.take(Welcome)] == [challenges[-1]]


def test_agents_without_end(conductor: Flooded, caplog: pytest.LogCaptureFixture) -> None:
    strangers = [conductor.beat_of(agent=f"agent-{i}") for i in range(MANY)]
    conductor.hear([*strangers])
    assert len(conductor.outbox.take(Welcome)) == MANY // BATCH
    assert len([r for r in caplog.records if "another agent" in r.getMessage()]) == 1


def test_facts_without_end(conductor: Flooded, caplog: pytest.LogCaptureFixture) -> None:
    facts = {"x": "y" * 9000}
    announce = Announce(
        host=conductor.host, agent="a", address=None, release="1", slots=1, plugins={}
    )
    conductor.hear([announce, *(conductor.beat_of(facts=facts) for _ in range(BATCH))])
    assert len([r for r in caplog.records if "of facts" in r.getMessage()]) == 1
