"""Reports reach the broker, however long it is away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from labapi.agent.link import reporter as reporter_module
from labapi.agent.link.reporter import Report, Reporter
from labapi.agent.output import PIECE, OutputBuffer
from labapi.exceptions import BrokerUnavailable
from labapi.rpc.messages import CaseResult, Goodbye, Heartbeat, Output
from labapi.rpc.publisher import Envelope
from labapi.rpc.transport import Transport
from tests.unit.agent.processes.test_process_trees import wait_for


class Broker:
    """Stands in for the broker: away, without a queue for results, or there."""

    def __init__(self) -> None:
        self.away = False
        self.queue = True
        self.odd = 0
        self.tries = 0
        self.got: list[Envelope] = []

    def publish(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        self.tries += 1
        if self.odd:
            self.odd -= 1
            raise AttributeError("a library that meets a dead connection")
        if self.away:
            raise BrokerUnavailable("the message broker is away")
        missed = [e for e in envelopes if e.mandatory and not self.queue]
        self.got += [e for e in envelopes if e not in missed]
        return missed

    def close(self) -> None:
        self.got.append(Envelope(Goodbye(host="closed", agent=""), "closed"))


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def make(broker: Broker, make_conf: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(reporter_module, "FIRST_PAUSE", 0.01)
    done: list[str | None] = []

    def confirmed(reports: list[Report]) -> None:
        done.extend(report.attempt for report in reports)

    back = threading.Event()
    reporter = Reporter(
        Transport(make_conf()), "bench-1", confirmed=confirmed, lost=lambda: None, back=back.set
    )
    reporter._publisher = broker  # type: ignore[assignment]
    reporter.start()
    yield reporter, done, back
    reporter.stop(1)


def result(number: int) -> Report:
    message = CaseResult(case="c", attempt=f"a{number}", host="bench-1", result="PASS")
    return Report([message], message.attempt)


def test_reports_wait_for_a_broker_that_is_away_and_keep_their_order(
    make: Any, broker: Broker
) -> None:
    reporter, done, back = make
    broker.away = True
    for number in range(200):
        reporter.submit(result(number))
    wait_for(lambda: broker.tries > 3)
    assert (reporter._away, done, back.is_set()) == (True, [], False)
    broker.away = False
    wait_for(lambda: len(done) == 200)
    assert done == [f"a{n}" for n in range(200)]
    assert [e.message.attempt for e in broker.got] == done  # type: ignore[attr-defined]
    assert back.wait(60)
    assert not reporter._away
    ages = [e.message.age for e in broker.got]  # type: ignore[attr-defined]
    assert ages[0] > 0
    assert broker.tries < 100


def test_an_error_that_nobody_expected_loses_nothing(make: Any, broker: Broker) -> None:
    reporter, done, _ = make
    broker.odd = 2
    reporter.submit(result(1))
    wait_for(lambda: done == ["a1"])
    assert broker.tries == 3


def test_a_result_that_no_queue_takes_is_sent_again(make: Any, broker: Broker) -> None:
    reporter, done, _ = make
    broker.queue = False
    reporter.submit(result(1))
    wait_for(lambda: broker.tries > 2)
    assert done == []
    broker.queue = True
    wait_for(lambda: done == ["a1"])
    assert len(broker.got) == 1


def test_of_heartbeats_only_the_latest_is_sent(make: Any, broker: Broker) -> None:
    reporter, _, _ = make
    broker.away = True
    for clock in range(50):
        reporter.tell(Heartbeat(host="bench-1", agent="a", clock=clock))
    wait_for(lambda: broker.tries > 2)
    broker.away = False
    wait_for(lambda: broker.got)
    assert [e.message.clock for e in broker.got] == [49]  # type: ignore[attr-defined]


def test_keys_tell_kind_and_host(make: Any, broker: Broker) -> None:
    reporter, _, _ = make
    output = Output(case="c", attempt="a", host="bench-1", offset=0, data=b"x")
    reporter.submit(Report([output, *result(1).messages], "a1"))
    reporter.tell(Goodbye(host="bench-1", agent="a"))
    wait_for(lambda: len(broker.got) == 3)
    assert {(e.exchange, e.routing_key, e.mandatory) for e in broker.got} == {
        ("labapi.reports", "heartbeat.bench-1", False),
        ("labapi.reports", "output.bench-1", False),
        ("labapi.reports", "result.bench-1", True),
    }


def test_stop_sends_what_waits_and_does_not_wait_for_a_broker_that_is_away(
    make: Any, broker: Broker
) -> None:
    reporter, done, _ = make
    broker.away = True
    reporter.submit(result(1))
    wait_for(lambda: broker.tries > 1)
    assert reporter.stop(5) is False
    assert done == []


def test_output_is_handed_on_in_pieces_without_gaps() -> None:
    buffer = OutputBuffer(10 * PIECE)
    data = bytes(range(256)) * (PIECE // 100)
    buffer.write(data)
    found = b""
    while (piece := buffer.take()) is not None:
        offset, part = piece
        assert offset == len(found)
        assert len(part) <= PIECE
        found += part
    buffer.write(b"end")
    assert found == data
    assert buffer.close() == [(len(data), b"end")]
    buffer.write(b"late")
    assert buffer.close() == [(len(data) + 3, b"")]
    assert buffer.size == len(data) + 3


def test_output_stops_at_its_limit_and_is_counted_on() -> None:
    buffer = OutputBuffer(5)
    buffer.write(b"abc")
    assert buffer.take() == (0, b"abc")
    buffer.write(b"defg")
    buffer.write(b"h")
    assert buffer.close() == [(3, b"de")]
    assert buffer.size == 8
