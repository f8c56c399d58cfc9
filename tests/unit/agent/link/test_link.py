"""One connection carries commands and reports, and comes back by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from labapi import config
from labapi.agent.link.link import FIRST_PAUSE, Link
from labapi.agent.link.reading import Reading
from labapi.agent.link.reporter import Report, Reporter
from labapi.exceptions import Unavailable
from labapi.rpc.consumer import BatchConsumer
from labapi.rpc.messages import MAX_BYTES, CancelCase, CaseResult, Message, RunCase
from labapi.rpc.publisher import Envelope, Publisher
from labapi.rpc.transport import (
    REPORT_QUEUE,
    Transport,
    agent_key,
    agent_queue,
    control_key,
    control_queue,
)
from tests.lab import RabbitMQ
from tests.processes import until
from tests.proxy import Proxy

HOST = "bench-1"


class End:
    """The agent's end of a link: what it got, and what it says to that."""

    def __init__(self, transport: Transport) -> None:
        self.cases: list[str] = []
        self.cancelled: list[str] = []
        self.done: list[str | None] = []
        self.calls: list[str] = []
        self.refusals: list[Exception] = []
        self.room = True
        self.reporter = Reporter(
            HOST,
            wake=lambda: self.link.wake(),
            confirmed=lambda reports: self.done.extend(report.attempt for report in reports),
            lost=lambda: self.calls.append("lost"),
            back=lambda: self.calls.append("back"),
        )
        self.reading = Reading(
            "cases",
            agent_queue(HOST),
            self._take,
            batch=4,
            verifier=None,
            alone=False,
            ready=lambda: self.room,
        )
        self.control = Reading(
            "control", control_queue(HOST), self._obey, batch=4, verifier=None, alone=True
        )
        self.link = Link(transport, [self.control, self.reading], self.reporter)
        self.link.start()
        until(lambda: self.reading.consumes and self.control.consumes)

    def _take(self, messages: list[Message]) -> None:
        if self.refusals:
            raise self.refusals.pop()
        self.cases += [m.attempt for m in messages if isinstance(m, RunCase)]

    def _obey(self, messages: list[Message]) -> None:
        self.cancelled += [m.attempt for m in messages if isinstance(m, CancelCase)]

    def report(self, number: int) -> None:
        message = CaseResult(case="c", attempt=f"a{number}", host=HOST, result="PASS")
        self.reporter.submit(Report([message], message.attempt))


@pytest.fixture
def end(transport: Transport) -> Iterator[End]:
    made = End(transport)
    yield made
    made.link.stop(60)


@pytest.fixture
def send(transport: Transport) -> Iterator[Callable[..., None]]:
    publisher = Publisher(transport)

    def publish(*attempts: str, cancel: bool = False) -> None:
        publisher.publish([cancellation(a) if cancel else command(a) for a in attempts])

    yield publish
    publisher.close()


def command(attempt: str) -> Envelope:
    run = RunCase(
        case="c",
        attempt=attempt,
        host=HOST,
        plugin="p",
        method="m",
        parameters={},
        timeout=1.0,
        request_id="r",
    )
    return Envelope(run, agent_key(HOST))


def cancellation(attempt: str) -> Envelope:
    return Envelope(CancelCase(case="c", attempt=attempt, host=HOST), control_key(HOST))


def test_both_ways_over_one_connection_with_two_channels(
    transport: Transport,
    send: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[Any] = []
    connect = transport.connect

    def counted(**how: Any) -> Any:
        opened.append(connect(**how))
        return opened[-1]

    got: list[Message] = []
    conductor = BatchConsumer(transport, [REPORT_QUEUE], got.extend, name="conductor")
    conductor.start()
    assert conductor.consuming.wait(60)
    monkeypatch.setattr(transport, "connect", counted)
    end = End(transport)
    try:
        send("a", "b", cancel=True)
        send(*"abcdefghij")
        for number in range(100):
            end.report(number)
        until(lambda: len(end.done) == 100 and len(end.cases) == 10)
        assert end.cases == list("abcdefghij")
        assert end.cancelled == ["a", "b"]
        until(lambda: len(got) == 100)
        own = [one for one in opened if one is end.link._connection]
        assert len(own) == 1
        if not transport.in_process:
            assert sorted(own[0].connection.channels) == [0, 1, 2]
    finally:
        assert end.link.stop(60)
        conductor.stop()


def test_the_end_comes_with_the_last_report(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labapi.agent.link.link.TICK", 600.0)
    monkeypatch.setattr(transport, "heartbeat", 0.0)
    end = End(transport)
    for number in range(3):
        end.report(number)
    assert end.link.stop(60)
    assert len(end.done) == 3


def test_what_is_for_later_comes_again_and_control_goes_on(
    end: End, send: Callable[..., None]
) -> None:
    end.refusals = [Unavailable("no conductor has answered") for _ in range(2)]
    send("a", "b")
    until(lambda: not end.refusals)
    send("x", cancel=True)
    until(lambda: end.cancelled == ["x"])
    # What comes again may do so behind what the broker had sent meanwhile.
    until(lambda: sorted(end.cases) == ["a", "b"])


def test_without_room_cases_wait_where_they_come_from(
    end: End,
    send: Callable[..., None],
    transport: Transport,
) -> None:
    end.room = False
    send("a", "b")
    if not transport.in_process:
        until(lambda: not end.reading.consumes)
        with transport.connect(heartbeat=False) as connection, connection.channel() as channel:
            queue = agent_queue(HOST)(channel)
            until(lambda: queue.queue_declare(passive=True).message_count == 2)
    send("x", cancel=True)
    until(lambda: end.cancelled == ["x"])
    assert end.cases == []
    end.room = True
    until(lambda: end.cases == ["a", "b"])


def test_a_queue_that_is_not_read_any_more(end: End, send: Callable[..., None]) -> None:
    end.link.stop_reading(end.reading, 60)
    assert not end.reading.consumes
    send("late")
    send("x", cancel=True)
    until(lambda: end.cancelled == ["x"])
    end.report(1)
    until(lambda: end.done == ["a1"])
    assert end.cases == []


def test_large_messages_are_handed_over_before_more_are_read(end: End) -> None:
    """Check that a batch ends with the message that makes it as large as one may be."""

    class Raw:
        body = b"x" * (MAX_BYTES // 2)

    reading = end.reading
    end.link.stop(60)
    reading._receive(Raw())
    assert not reading.full
    reading._receive(Raw())
    assert reading.full
    reading.drop()
    assert not reading.full


class TestOutages:
    """On RabbitMQ, behind a proxy."""

    @pytest.fixture
    def broker(self) -> Iterator[RabbitMQ]:
        server = RabbitMQ().create()
        yield server
        server.drop()

    @pytest.fixture
    def proxy(self) -> Iterator[Proxy]:
        made = Proxy(5672)
        yield made
        made.close()

    @pytest.fixture
    def far(self, broker: RabbitMQ, proxy: Proxy) -> Transport:
        conf = config.new(
            messaging__transport_url=broker.url.replace(":5672/", f":{proxy.port}/"),
            messaging__confirm_timeout=3.0,  # a busy disk takes its time
            messaging__connect_timeout=3.0,
            messaging__retry_interval_max=0.5,
        )
        conf([], project="labapi", default_config_files=[])
        return Transport(conf)

    @pytest.fixture
    def end(self, far: Transport) -> Iterator[End]:
        made = End(far)
        yield made
        made.link.stop(60)

    def test_reports_keep_their_order_through_broken_connections(
        self, end: End, proxy: Proxy
    ) -> None:
        for number in range(60):
            end.report(number)
            if number % 20 == 10:
                until(lambda: len(end.done) > 0)
                proxy.cut()
        until(lambda: len(end.done) == 60)
        assert end.done == [f"a{number}" for number in range(60)]
        until(lambda: end.reading.consumes and end.control.consumes)

    def test_a_broker_that_says_nothing_is_away(self, end: End, proxy: Proxy) -> None:
        end.report(0)
        until(lambda: end.done == ["a0"])
        proxy.swallow()
        end.report(1)
        until(lambda: end.calls == ["lost"])
        proxy.flow()
        until(lambda: end.done == ["a0", "a1"])
        assert end.calls == ["lost", "back"]
        until(lambda: end.reading.consumes)

    def test_stop_does_not_wait_for_a_broker_that_is_away(self, end: End, proxy: Proxy) -> None:
        proxy.close()
        end.report(1)
        until(lambda: end.calls == ["lost"])
        begun = time.monotonic()
        assert end.link.stop(60) is False
        assert time.monotonic() - begun < 30
        assert end.done == []

    def test_without_its_queue_it_still_reports(
        self, end: End, far: Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # As the user of an agent, which may not declare queues.
        monkeypatch.setattr(far, "declare", lambda *_: None)
        with far.connect(heartbeat=False) as connection, connection.channel() as channel:
            agent_queue(HOST)(channel).delete()
        until(lambda: not end.control.consumes)
        end.report(1)
        until(lambda: end.done == ["a1"])
        with far.connect(heartbeat=False) as connection, connection.channel() as channel:
            agent_queue(HOST)(channel).declare()
        until(lambda: end.reading.consumes and end.control.consumes)

    def test_agents_do_not_come_back_all_at_once(
        self, far: Transport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Check that pauses are drawn at random, the first one after a good connection, too."""
        monkeypatch.setattr("random.uniform", lambda low, high: (low, high)[1])
        idle = Reporter(
            HOST, wake=lambda: None, confirmed=print, lost=lambda: None, back=lambda: None
        )
        link = Link(far, [], idle)
        link._proven = True
        pauses = []
        for _ in range(3):
            link._lose(ConnectionResetError("gone"))
            pauses.append(link._pause)
        assert pauses == [FIRST_PAUSE, 0.5, 0.5]
        monkeypatch.setattr("random.uniform", lambda low, high: (low, high)[0])
        link._proven = True
        link._lose(ConnectionResetError("gone"))
        assert link._pause == 0.0
