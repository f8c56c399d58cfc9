"""Reports are kept in their order until the broker has them."""

from __future__ import annotations

from typing import Any

from labapi.agent.link.reporter import BATCH, Report, Reporter
from labapi.agent.output import PIECE, OutputBuffer
from labapi.rpc.messages import CaseResult, Goodbye, Heartbeat, Output


class Heard:
    """A reporter, and what it calls."""

    def __init__(self) -> None:
        self.done: list[str | None] = []
        self.calls: list[str] = []
        self.reporter = Reporter(
            "bench-1",
            wake=lambda: self.calls.append("wake"),
            confirmed=lambda reports: self.done.extend(report.attempt for report in reports),
            lost=lambda: self.calls.append("lost"),
            back=lambda: self.calls.append("back"),
        )


def result(number: int) -> Report:
    message = CaseResult(case="c", attempt=f"a{number}", host="bench-1", result="PASS")
    return Report([message], message.attempt)


def attempts(envelopes: list[Any]) -> list[str]:
    return [envelope.message.attempt for envelope in envelopes]


def test_what_is_put_back_is_sent_again_in_its_order() -> None:
    heard = Heard()
    count = BATCH + 10
    for number in range(count):
        heard.reporter.submit(result(number))
    assert heard.calls == ["wake"] * count
    first = heard.reporter.batch()
    assert (len(first), heard.reporter.unsent()) == (BATCH, count)
    heard.reporter.submit(result(count))
    heard.reporter.put_back()
    sent: list[str] = []
    while heard.reporter.pending:
        batch = heard.reporter.batch()
        assert heard.reporter.taken([])
        sent += attempts(batch)
        assert batch[0].message.age > first[0].message.age  # type: ignore[attr-defined]
    assert sent == heard.done == [f"a{number}" for number in range(count + 1)]


def test_contact_that_is_lost_is_told_once_and_so_is_its_return() -> None:
    heard = Heard()
    heard.reporter.submit(result(1))
    heard.calls.clear()
    for _ in range(3):
        heard.reporter.away("nothing answers")
    assert heard.calls == ["lost"]
    heard.reporter.batch()
    assert heard.reporter.taken([])
    assert heard.calls == ["lost", "back"]


def test_a_result_that_no_queue_takes_is_sent_again() -> None:
    heard = Heard()
    for number in range(3):
        heard.reporter.submit(result(number))
    batch = heard.reporter.batch()
    assert not heard.reporter.taken([batch[1]])
    assert heard.done == ["a0", "a2"]
    assert attempts(heard.reporter.batch()) == ["a1"]
    assert heard.reporter.taken([])
    assert heard.done == ["a0", "a2", "a1"]


def test_of_heartbeats_only_the_latest_is_sent() -> None:
    heard = Heard()
    for clock in range(5):
        heard.reporter.tell(Heartbeat(host="bench-1", agent="a", clock=clock))
    assert [e.message.clock for e in heard.reporter.batch()] == [4]  # type: ignore[attr-defined]
    heard.reporter.tell(Heartbeat(host="bench-1", agent="a", clock=5))
    heard.reporter.put_back()
    assert [e.message.clock for e in heard.reporter.batch()] == [5]  # type: ignore[attr-defined]


def test_keys_tell_kind_and_host() -> None:
    heard = Heard()
    output = Output(case="c", attempt="a", host="bench-1", offset=0, data=b"x")
    heard.reporter.submit(Report([output, *result(1).messages], "a1"))
    heard.reporter.tell(Goodbye(host="bench-1", agent="a"))
    assert {(e.exchange, e.routing_key, e.mandatory) for e in heard.reporter.batch()} == {
        ("labapi.reports", "heartbeat.bench-1", False),
        ("labapi.reports", "output.bench-1", False),
        ("labapi.reports", "result.bench-1", True),
    }


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
