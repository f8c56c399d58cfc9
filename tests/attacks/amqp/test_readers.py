"""No message stops a reader of a queue, whatever is in its frames."""

from __future__ import annotations

import resource
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import amqp
import pytest
from kombu import Queue

from labapi.rpc import dead_letters
from labapi.rpc.consumer import BatchConsumer
from labapi.rpc.messages import CaseChanged, Message, encode
from labapi.rpc.transport import (
    CONDUCTOR_QUEUE,
    EVENTS,
    HEARTBEAT_QUEUE,
    REPORT_QUEUE,
    agent_queue,
    control_queue,
)
from tests.attacks.amqp.conftest import Broker
from tests.attacks.amqp.raw import HOSTILE, NONE, RawMessage
from tests.lab import until
from tests.programs import run

GOOD = encode(CaseChanged(case="good", state="finished"))
EVENTS_QUEUE = Queue(f"events-{uuid.uuid4().hex}", EVENTS, routing_key="#", auto_delete=True)


class Reader:
    """A consumer and what it has received."""

    def __init__(self, broker: Broker, queue: Queue) -> None:
        self.received: list[Message] = []
        self.consumer = BatchConsumer(
            broker.transport, [queue], self.received.extend, name="reader", batch=5
        )

    def run_out(self) -> None:
        """Wait until the good message, the last one of all, is here."""
        until(lambda: self.received, what="the good message")


@contextmanager
def reading(broker: Broker, queue: Queue) -> Iterator[Reader]:
    """Read a queue while the test goes on."""
    reader = Reader(broker, queue)
    with broker.transport.connect(heartbeat=False) as connection:
        broker.transport.declare(connection, queue)
        dead_letters.purge(connection)
    reader.consumer.start()
    assert reader.consumer.consuming.wait(60)
    yield reader
    reader.consumer.stop()


def send(channel: amqp.Channel, queue: Queue, body: bytes, properties: bytes = NONE) -> None:
    message = RawMessage(body, properties)
    channel.basic_publish_confirm(message, "", queue.name, confirm_timeout=60)


QUEUES = {
    "report": lambda host: REPORT_QUEUE,
    "heartbeat": lambda host: HEARTBEAT_QUEUE,
    "conductor": lambda host: CONDUCTOR_QUEUE,
    "agent": agent_queue,
    "control": control_queue,
    "events": lambda host: EVENTS_QUEUE,
}


@pytest.mark.parametrize("queue", QUEUES)
def test_what_is_no_message_is_put_aside(
    broker: Broker, admin: amqp.Channel, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = QUEUES[queue](broker.host)
    with reading(broker, place) as reader:
        for body, properties in HOSTILE.values():
            send(admin, place, body, properties)
        send(admin, place, GOOD)
        reader.run_out()
    with broker.transport.connect(heartbeat=False) as connection:
        until(lambda: dead_letters.count(connection) == len(HOSTILE))
        causes = [letter.cause for letter in dead_letters.read(connection)]
        assert "its properties cannot be read" in causes
        assert dead_letters.purge(connection) == len(HOSTILE)
    # One line tells of all of them, and no connection was lost.
    told = [r.getMessage() for r in caplog.records if r.name == "labapi.rpc.delivery"]
    assert len(told) == 1
    assert told[0].startswith("reader: dropped a message (1 so far): ")


def test_nothing_is_decompressed(broker: Broker, admin: amqp.Channel) -> None:
    body, properties = HOSTILE["a bzip2 bomb"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with reading(broker, REPORT_QUEUE) as reader:
        send(admin, REPORT_QUEUE, body, properties)
        send(admin, REPORT_QUEUE, GOOD)
        reader.run_out()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_a_routing_key_that_is_not_text(broker: Broker, admin: amqp.Channel) -> None:
    key = b"result.\xff\xfe"
    with reading(broker, REPORT_QUEUE) as reader:
        message = RawMessage(GOOD, NONE)
        admin.basic_publish_confirm(message, "labapi.reports", key, confirm_timeout=60)
        send(admin, REPORT_QUEUE, GOOD)
        reader.run_out()
    with broker.transport.connect(heartbeat=False) as connection:
        until(lambda: dead_letters.count(connection))
        [letter] = dead_letters.read(connection)
    assert letter.cause == "its routing key is not UTF-8"


def test_the_queue_of_dead_letters_is_bounded(broker: Broker, admin: amqp.Channel) -> None:
    with broker.transport.connect(heartbeat=False) as connection:
        dead_letters.purge(connection)
        for _ in range(dead_letters.MAX_LETTERS + 5):
            admin.basic_publish(amqp.Message(b"x"), "", dead_letters.DEAD_LETTERS.name)
        send(admin, dead_letters.DEAD_LETTERS, b"x")
        assert dead_letters.count(connection) == dead_letters.MAX_LETTERS
        dead_letters.purge(connection)


def test_an_operator_sees_what_was_dropped(
    broker: Broker, admin: amqp.Channel, tmp_path: Path
) -> None:
    conf = tmp_path / "labapi.conf"
    conf.write_text(f"[messaging]\ntransport_url = {broker.transport.url}\n")

    def manage(*args: str) -> str:
        done = run("labapi-manage", "--config-file", str(conf), "dead-letter", *args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    manage("purge")
    with reading(broker, REPORT_QUEUE) as reader:
        admin.basic_publish(amqp.Message(b'{"kind":"\x1b[2J"}'), "labapi.reports", "result.\x1b[2J")
        send(admin, REPORT_QUEUE, GOOD)
        reader.run_out()
    with broker.transport.connect(heartbeat=False) as connection:
        until(lambda: dead_letters.count(connection))
    for shown in (manage("list", "-f", "value", "--long"), manage("list", "--long")):
        assert "result.?[2J" in shown
        assert "\x1b" not in shown
    assert manage("purge") == "1 dead letters deleted\n"
