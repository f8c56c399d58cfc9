from __future__ import annotations

import threading
import time
import uuid
from typing import Any

import pytest
from kombu import Queue

from labapi import config
from labapi.exceptions import BrokerUnavailable, ConfigError, Unavailable
from labapi.rpc.consumer import FIRST_PAUSE, BatchConsumer
from labapi.rpc.messages import CancelCase, CaseResult, Goodbye, Message, Wake, encode
from labapi.rpc.publisher import Envelope, Publisher
from labapi.rpc.transport import EXCHANGE, Transport, sender
from tests.lab import until
from tests.programs import free_port


class Inbox:
    """Collects batches; can be told to fail."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.fail: list[Exception] = []
        self.poison = ""
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, messages: list[Any]) -> None:
        self.gate.wait(60)
        if self.fail:
            raise self.fail.pop(0)
        if self.poison in [message.host for message in messages]:
            raise RuntimeError("this one breaks it")
        self.batches.append(messages)

    def hosts(self) -> list[str]:
        return [message.host for batch in self.batches for message in batch]


@pytest.fixture
def key() -> str:
    return f"test.{uuid.uuid4().hex}"


@pytest.fixture
def publisher(transport: Transport):  # type: ignore[no-untyped-def]
    made = Publisher(transport)
    yield made
    made.close()


@pytest.fixture
def inbox(transport: Transport, key: str):  # type: ignore[no-untyped-def]
    box = Inbox()
    queue = Queue(f"labapi.{key}", EXCHANGE, routing_key=key)
    consumer = BatchConsumer(transport, [queue], box, name="inbox", batch=10)
    consumer.start()
    assert consumer.consuming.wait(60)
    yield box
    box.gate.set()
    consumer.stop()
    assert not consumer.is_alive()


def said(name: object, key: str) -> Envelope:
    return Envelope(Goodbye(host=str(name), agent="a"), key, mandatory=True)


def test_messages_arrive_in_their_order(publisher: Publisher, inbox: Inbox, key: str) -> None:
    assert publisher.publish([said(n, key) for n in range(50)]) == []
    until(lambda: len(inbox.hosts()) == 50)
    assert inbox.hosts() == [str(n) for n in range(50)]


def test_what_has_gathered_is_one_batch(publisher: Publisher, inbox: Inbox, key: str) -> None:
    def largest() -> int:
        inbox.batches.clear()
        inbox.gate.clear()
        publisher.publish([said(n, key) for n in range(25)])
        inbox.gate.set()
        until(lambda: len(inbox.hosts()) == 25)
        found = max(map(len, inbox.batches))
        assert found <= 10
        return found

    until(lambda: largest() == 10)  # a busy broker hands them over one by one


def test_a_batch_comes_again_while_a_server_is_away(
    publisher: Publisher, inbox: Inbox, key: str
) -> None:
    inbox.fail = [Unavailable("the database is away")]
    publisher.publish([said("a", key), said("b", key)])
    until(lambda: len(inbox.hosts()) == 2)
    assert inbox.hosts() == ["a", "b"]


def test_a_message_that_breaks_the_handler_costs_nobody_else(
    publisher: Publisher, inbox: Inbox, key: str
) -> None:
    inbox.gate.clear()
    inbox.poison = "2"
    publisher.publish([said(n, key) for n in range(5)])
    inbox.gate.set()
    until(lambda: len(inbox.hosts()) >= 4)
    assert inbox.hosts() == ["0", "1", "3", "4"]


def test_what_is_no_message_is_dropped(publisher: Publisher, inbox: Inbox, key: str) -> None:
    class Raw(Message, frozen=True, tag="raw"):
        pass

    class Newer(Goodbye, frozen=True, tag="goodbye"):
        version: int = 99

    publisher.publish([Envelope(Raw(), key), Envelope(Newer(host="x", agent="a"), key)])
    publisher.publish([said("good", key)])
    until(inbox.hosts)
    assert inbox.hosts() == ["good"]


def test_mandatory_messages_that_no_queue_takes_come_back(publisher: Publisher) -> None:
    lost = said("nobody", f"test.{uuid.uuid4().hex}")
    if publisher._transport.in_process:
        pytest.skip("the in-process broker knows no mandatory messages")
    assert publisher.publish([lost]) == [lost]


def test_only_what_nobody_says_again_is_for_the_disk(
    transport: Transport, publisher: Publisher, key: str
) -> None:
    ids = {"case": "c", "attempt": "a", "host": "h"}
    queue = Queue(f"labapi.{key}", EXCHANGE, routing_key=key)
    with transport.connect(heartbeat=False) as connection, connection.channel() as channel:
        kept = queue(channel)
        kept.declare()
        for message in (CaseResult(**ids, result="PASS"), CancelCase(**ids), Wake(hosts=["h"])):
            publisher.publish([Envelope(message, key)])
        until(lambda: kept.queue_declare(passive=True).message_count == 3)
        modes = [kept.get(no_ack=True).properties["delivery_mode"] for _ in range(3)]
        kept.delete()
    assert modes == [2, 1, 1]


def test_a_broker_that_is_away() -> None:
    conf = config.new(
        messaging__transport_url=f"amqp://guest:guest@127.0.0.1:{free_port()}//",
        messaging__connect_timeout=1.0,
    )
    conf([], project="labapi", default_config_files=[])
    with pytest.raises(
        BrokerUnavailable, match=r"the message broker 127.0.0.1:\d+ is away: Connection refused"
    ):
        Publisher(Transport(conf)).publish([said("a", "test.x")])


def test_a_deleted_queue_is_made_again(
    transport: Transport, publisher: Publisher, inbox: Inbox, key: str
) -> None:
    if transport.in_process:
        pytest.skip("nothing but this process can delete its queues")
    with transport.connect(heartbeat=False) as connection, connection.channel() as channel:
        channel.queue_delete(f"labapi.{key}")
    until(lambda: publisher.publish([said("again", key)]) == [])
    until(inbox.hosts)


def test_encoding_says_kind_and_version() -> None:
    assert encode(Goodbye(host="h", agent="a")) == (
        b'{"kind":"goodbye","version":1,"host":"h","agent":"a"}'
    )


def test_a_pace_makes_larger_batches(transport: Transport, publisher: Publisher, key: str) -> None:
    box = Inbox()
    queue = Queue(f"labapi.{key}", EXCHANGE, routing_key=key)
    consumer = BatchConsumer(transport, [queue], box, name="paced", batch=100, pace=0.5)
    consumer.start()
    assert consumer.consuming.wait(60)
    try:
        begun = time.monotonic()
        for number in range(20):
            publisher.publish([said(number, key)])
        until(lambda: len(box.hosts()) == 20)
        assert len(box.batches) <= 2 + (time.monotonic() - begun) / 0.5
    finally:
        consumer.stop()


def test_a_batch_is_acknowledged_whole(
    transport: Transport, publisher: Publisher, inbox: Inbox, key: str
) -> None:
    publisher.publish([said(n, key) for n in range(25)])
    until(lambda: len(inbox.hosts()) == 25)
    inbox.fail = [Unavailable("the database is away")]  # has the consumer connect anew
    publisher.publish([said("last", key)])
    until(lambda: not inbox.fail)
    publisher.publish([said("more", key)])
    until(lambda: "more" in inbox.hosts())
    assert len(inbox.hosts()) == len(set(inbox.hosts()))


def test_a_fault_of_its_own_is_no_outage(
    transport: Transport, publisher: Publisher, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(BatchConsumer):
        tries = 0

        def _work_off(self, connection: object) -> None:
            self.tries += 1
            if self.tries <= 3:
                raise RuntimeError("a mistake in the code")
            super()._work_off(connection)  # type: ignore[arg-type]

    box = Inbox()
    queue = Queue(f"labapi.{key}", EXCHANGE, routing_key=key)
    consumer = Broken(transport, [queue], box, name="broken")
    consumer.start()
    assert consumer.consuming.wait(60)
    begun = time.monotonic()
    try:
        if transport.in_process:  # which takes nothing back from a reader that goes
            until(lambda: publisher.publish([said("a", key)]) or box.hosts())
        else:
            publisher.publish([said("a", key)])
            until(box.hosts)
    finally:
        consumer.stop()
    assert time.monotonic() - begun > FIRST_PAUSE / 2 * (1 + 2 / 2 + 4 / 4)
    told = [record for record in caplog.records if record.name == "labapi.rpc.outage"]
    assert [record.exc_info is not None for record in told] == [True]
    assert "RuntimeError: a mistake in the code" in caplog.text


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("result.lab-1.example", "lab-1.example"),
        ("heartbeat.192.0.2.1", "192.0.2.1"),
        ("output", ""),
        ("labapi.report", ""),
        ("labapi.heartbeat", ""),
        ("agent.lab-1", None),
        ("conductor", None),
    ],
)
def test_who_sent_it(key: str, host: str | None) -> None:
    assert sender(key) == host


@pytest.mark.parametrize("url", ["bogus://x", "amqp://u:p@h:port/"])
def test_a_url_that_is_none(url: str) -> None:
    conf = config.new(messaging__transport_url=url)
    conf([], project="labapi", default_config_files=[])
    with pytest.raises(ConfigError, match="transport_url"):
        Transport(conf)


def test_a_queue_that_is_gone_for_good_is_said_once(
    transport: Transport, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if transport.in_process:
        pytest.skip("nothing but this process can delete its queues")
    tries = []
    connect = transport.connect
    monkeypatch.setattr(transport, "retry_interval_max", 0.1)
    monkeypatch.setattr(transport, "connect", lambda **how: tries.append(1) or connect(**how))
    gone = Queue(f"labapi.{uuid.uuid4().hex}", EXCHANGE, no_declare=True)  # as an agent's user
    consumer = BatchConsumer(transport, [gone], print, name="reader")
    consumer.start()
    until(lambda: len(tries) > 5)
    consumer.stop()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("labapi")]
    assert len(lines) == 1
    assert "has no queue for it any more: an operator has removed it, or the host" in lines[0]
