from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection

from labapi import config
from labapi.conductor import heartbeats
from labapi.conductor.heartbeats import Heartbeats, said
from labapi.db import hosts, services
from labapi.db.session import Database, Record
from labapi.rpc.messages import (
    MAX_REPORT,
    Announce,
    Goodbye,
    Heartbeat,
    Introduce,
    MethodDescription,
    Welcome,
    decode,
    encode,
)
from labapi.rpc.publisher import Envelope
from labapi.rpc.signing import Signer
from labapi.servicegroup import driver


class Sent:
    """Stands for the broker: keeps what is published."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.signer: Signer | None = None

    def publish(self, envelopes: Iterable[Envelope]) -> list[Envelope]:
        self.messages += [envelope.message for envelope in envelopes]
        return []


class Bench:
    """A handler of heartbeats with a lab of its own names."""

    def __init__(self, database: Database, **options: Any) -> None:
        conf = config.new(**{f"conductor__{name}": value for name, value in options.items()})
        conf([], project="labapi", default_config_files=[])
        self.database = database
        self.sent = Sent()
        self.arrived: list[str] = []
        self.prefix = uuid.uuid4().hex[:8]
        self.agents: dict[str, str] = {}
        self.take = Heartbeats(
            conf,
            database,
            self.sent,  # type: ignore[arg-type]
            self.arrived.extend,
            liveness=driver.load(conf),
        ).handle

    def name(self, number: int = 0) -> str:
        return f"{self.prefix}-{number}"

    def announce(self, *numbers: int, agent: str | None = None, **more: Any) -> None:
        self.take(
            [
                Announce(
                    host=self.name(n),
                    agent=self.agents.setdefault(
                        self.name(n), str(uuid.uuid4()) if agent is None else agent
                    ),
                    address=None,
                    release="1",
                    plugins={},
                    **more,
                )
                for n in numbers
            ]
        )

    def beat(self, *numbers: int, **facts: Any) -> None:
        self.take([self.heartbeat(n, **facts) for n in numbers])

    def heartbeat(self, number: int, *, clock: float | None = None, **facts: Any) -> Heartbeat:
        return Heartbeat(
            host=self.name(number),
            agent=self.agents.setdefault(self.name(number), str(uuid.uuid4())),
            clock=time.time() if clock is None else clock,
            facts=facts,
        )

    def row(self, number: int = 0) -> Record:
        (row,) = self.database.read(services.every, host=self.name(number))
        return row

    def seen(self, *numbers: int) -> set[datetime.datetime]:
        return {self.row(n).last_seen_at for n in numbers}


MANY = range(heartbeats.FEW + 20)
BUSY = 120.0  # seconds that a step may take on a busy machine; far less than the skews here


def test_a_host_is_up_from_its_first_heartbeat_on(database: Database) -> None:
    bench = Bench(database)
    bench.announce(0)
    bench.beat(0, load1=0.5)
    assert bench.row().facts["load1"] == 0.5
    assert bench.arrived == [bench.name()]
    assert not bench.sent.messages


def test_a_host_that_nobody_knows_is_asked(database: Database) -> None:
    bench = Bench(database)
    bench.beat(0)
    assert bench.sent.messages == [Introduce(host=bench.name())]


def test_names_that_would_be_patterns_are_not_hosts(database: Database) -> None:
    bench = Bench(database)
    bench.take([Heartbeat(host="lab-#", agent="a", clock=0.0)])
    assert not database.read(services.every, host="lab-#")
    assert not bench.sent.messages


@pytest.mark.parametrize("skew", [-7200.0, 0.0, 3600.0])
def test_skew_is_measured_and_harms_nothing(database: Database, skew: float) -> None:
    bench = Bench(database)
    bench.announce(0)
    bench.take([bench.heartbeat(0, clock=time.time() + skew)])
    row = bench.row()
    assert row.facts["clock_skew"] == pytest.approx(skew, abs=BUSY)
    assert str(row.facts["clock_skew"]) != "-0.0"
    arrived = row.last_seen_at
    assert abs((datetime.datetime.now(datetime.UTC) - arrived).total_seconds()) < BUSY


def test_in_a_large_lab_facts_are_written_now_and_then(database: Database) -> None:
    bench = Bench(database, facts_interval=3600)
    bench.announce(*MANY)
    bench.beat(*MANY, load1=1)
    bench.beat(*MANY, load1=2)
    before = bench.seen(*MANY)
    bench.beat(*MANY, load1=3)
    assert {bench.row(n).facts["load1"] for n in MANY} == {1}
    assert min(bench.seen(*MANY)) > max(before)


def test_in_a_large_lab_facts_are_written_when_they_are_old(database: Database) -> None:
    bench = Bench(database, facts_interval=0)
    bench.announce(*MANY)
    for load in (1, 2):
        bench.beat(*MANY, load1=load)
        assert {bench.row(n).facts["load1"] for n in MANY} == {load}


def test_a_goodbye_among_many_heartbeats(database: Database) -> None:
    bench = Bench(database)
    bench.announce(*MANY)
    bench.beat(*MANY)
    goodbye = Goodbye(host=bench.name(3), agent=bench.agents[bench.name(3)])
    bench.take([*(bench.heartbeat(n) for n in MANY), goodbye])
    assert [n for n in MANY if bench.row(n).stopped] == [3]
    bench.beat(*MANY)
    assert not any(bench.row(n).stopped for n in MANY)


def test_hosts_that_were_removed_are_noticed(database: Database) -> None:
    bench = Bench(database)
    bench.announce(*MANY)
    bench.beat(*MANY)
    with database.engine().begin() as connection:
        for table, column in (("services", "host"), ("hosts", "host")):
            connection.exec_driver_sql(f"DELETE FROM {table} WHERE {column} = '{bench.name(5)}'")
    bench.beat(*MANY)
    bench.beat(*MANY)
    assert bench.sent.messages == [Introduce(host=bench.name(5))]


def test_too_many_facts_are_not_kept(database: Database) -> None:
    bench = Bench(database)
    bench.announce(0)
    bench.beat(0, big="x" * heartbeats.MAX_FACTS)
    assert set(bench.row().facts) == {"clock_skew"}


def test_an_announcement_tells_facts(database: Database) -> None:
    bench = Bench(database)
    bench.announce(0, clock=time.time() - 600, facts={"load1": 4})
    facts = bench.row().facts
    assert facts == {"load1": 4, "clock_skew": pytest.approx(-600, abs=BUSY)}


def test_an_announcement_of_an_older_agent_leaves_facts_as_they_are(database: Database) -> None:
    bench = Bench(database)
    bench.announce(0)
    bench.beat(0, load1=4)
    bench.announce(0)
    assert bench.row().facts["load1"] == 4


def test_heartbeats_use_up_no_ids(database: Database) -> None:
    bench = Bench(database)
    bench.announce(0)
    for _ in range(20):
        bench.beat(0)
    bench.announce(1)
    assert bench.row(1).id == bench.row(0).id + 1


def test_ten_thousand_hosts_fit_into_one_statement(database: Database) -> None:
    now = datetime.datetime.now(datetime.UTC)
    assert database.write(services.touch, list(range(10**6, 10**6 + 10_000)), now) is False
    assert database.write(hosts.known, [f"none-{n}" for n in range(10_000)]) == {}


def test_a_challenge_is_answered_with_the_time(database: Database) -> None:
    bench = Bench(database)
    bench.announce(0)
    beat = replace(bench.heartbeat(0), challenge="0123456789abcdef" * 2)
    bench.take([beat])
    (welcome,) = bench.sent.messages
    assert isinstance(welcome, Welcome)
    assert (welcome.host, welcome.agent) == (beat.host, beat.agent)
    assert welcome.challenge == beat.challenge
    assert abs(welcome.clock - time.time()) < BUSY


@pytest.mark.parametrize("challenge", ["", "x" * 32, "0" * 31, "0" * 33, "0" * 32 + "\n"])
def test_nothing_else_than_a_challenge_is_signed(database: Database, challenge: str) -> None:
    bench = Bench(database)
    bench.announce(0)
    bench.take([replace(bench.heartbeat(0), challenge=challenge)])
    assert not bench.sent.messages


def test_another_agent_does_not_inherit_a_host(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(database)
    bench.announce(0)
    bench.beat(0, load1=1)
    first, seen = bench.agents[bench.name()], bench.row().last_seen_at
    bench.agents[bench.name()] = second = str(uuid.uuid4())
    bench.arrived.clear()
    bench.announce(0)
    bench.beat(0, load1=2)
    bench.take([Goodbye(host=bench.name(), agent=second)])
    row = bench.row()
    assert (row.last_seen_at, row.facts["load1"], row.stopped) == (seen, 1, False)
    assert bench.arrived == []
    assert database.read(hosts.known, [bench.name()])[bench.name()].agent == first
    assert database.read(hosts.disputed)[bench.name()] == second
    assert [(m.agent, m.accepted) for m in bench.sent.messages] == [(second, False)] * 3
    refusals = [r for r in caplog.records if "agent accept" in r.message]
    assert len(refusals) == 1


def test_an_accepted_agent_takes_over(database: Database) -> None:
    bench = Bench(database)
    bench.announce(0)
    bench.agents[bench.name()] = second = str(uuid.uuid4())
    bench.announce(0)
    assert database.write(hosts.accept, bench.name())
    assert not database.write(hosts.accept, bench.name())
    bench.beat(0, load1=2)
    assert bench.row().facts["load1"] == 2
    assert database.read(hosts.known, [bench.name()])[bench.name()].agent == second
    assert bench.name() not in database.read(hosts.disputed)


def test_of_two_newcomers_the_first_has_the_host(database: Database) -> None:
    bench = Bench(database)
    first, second = (
        Announce(host=bench.name(), agent=str(uuid.uuid4()), address=None, release="1", plugins={})
        for _ in range(2)
    )
    bench.take([first, second])
    assert database.read(hosts.known, [bench.name()])[bench.name()].agent == first.agent


def test_of_two_newcomers_at_two_conductors_the_first_has_the_host(database: Database) -> None:
    bench = Bench(database)
    name, first = bench.name(), str(uuid.uuid4())
    sign = Announce(host=name, agent=first, address=None, release="1", plugins={}, slots=3)

    def begin(connection: Connection) -> None:
        hosts.announce(connection, {name: said(sign)}, datetime.datetime.now(datetime.UTC))

    beside(database, begin, lambda: bench.announce(0, slots=5))
    row = database.read(hosts.named, name)
    assert row is not None
    assert (database.read(hosts.known, [name])[name].agent, row.slots) == (first, 3)


def test_an_agent_that_announces_itself_at_that_moment_does_not_undo_its_end(
    database: Database,
) -> None:
    bench = Bench(database)
    bench.announce(0)
    name, first, second = bench.name(), bench.agents[bench.name()], str(uuid.uuid4())
    database.write(hosts.dispute, {name: second})
    beside(database, lambda c: hosts.accept(c, name), lambda: bench.announce(0, agent=first))
    assert database.read(hosts.known, [name])[name].agent == second


def beside(
    database: Database, begin: Callable[[Connection], object], other: Callable[[], object]
) -> None:
    """Have a conductor do something while a transaction, begun before, is not over."""
    with ThreadPoolExecutor(1) as pool:

        def both(connection: Connection) -> Future[object]:
            begin(connection)
            later = pool.submit(other)
            time.sleep(0.5)  # it waits for this transaction now
            return later

        database.write(both).result(timeout=60)


def test_another_agent_among_many_heartbeats(database: Database) -> None:
    bench = Bench(database)
    bench.announce(*MANY)
    bench.beat(*MANY)
    bench.beat(*MANY)
    seen = bench.row(3).last_seen_at
    bench.agents[bench.name(3)] = str(uuid.uuid4())
    bench.beat(*MANY)
    assert bench.row(3).last_seen_at == seen
    assert bench.row(4).last_seen_at > seen


@pytest.mark.parametrize("agent", ["", "x" * 37])
def test_ids_that_are_none(database: Database, agent: str) -> None:
    bench = Bench(database)
    bench.announce(0, agent=agent)
    assert not database.read(hosts.known, [bench.name()])


def test_the_largest_batch_of_announcements_fits_into_a_statement(database: Database) -> None:
    largest = {}
    for number in range(2):
        body = encode(
            Announce(
                host=f"{uuid.uuid4().hex}-{number}",
                agent="a",
                address=None,
                release="1",
                plugins={"p": {"m": MethodDescription(description="", schema={"x": "x"})}},
            )
        )
        # In SQL a backslash and a quotation mark are two characters each.
        body = body.replace(b'"x":"x"', b'"x":"%b"' % (b'\\"' * ((MAX_REPORT - len(body)) // 2)))
        announced = decode(body)
        assert isinstance(announced, Announce)
        largest[announced.host] = said(announced)
    database.write(hosts.announce, largest, datetime.datetime.now(datetime.UTC))
    assert database.read(hosts.known, list(largest)).keys() == largest.keys()


def test_an_agent_that_will_stop_is_given_nothing_more(database: Database) -> None:
    bench = Bench(database)
    bench.announce(*MANY)
    bench.beat(*MANY)
    assert not bench.row().stopped
    bench.sent.messages.clear()
    bench.take([replace(bench.heartbeat(0, running=1), stopping=True), bench.heartbeat(1)])
    bench.take([replace(bench.heartbeat(n), stopping=n == 0) for n in MANY])
    assert bench.row(0).stopped
    assert not bench.row(1).stopped
    assert bench.sent.messages == []  # nor is it asked who it is
    bench.announce(0)
    assert not bench.row(0).stopped
