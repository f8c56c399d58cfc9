"""The password of one agent opens no queue of anybody else, and fools no conductor."""

from __future__ import annotations

import struct

import amqp
import pytest
from kombu import Connection, Exchange, Queue, binding

from labapi.rpc import broker_user
from labapi.rpc.messages import Goodbye, encode
from labapi.rpc.transport import (
    CONDUCTOR_QUEUE,
    EXCHANGE,
    HEARTBEAT_QUEUE,
    REPORT_QUEUE,
    REPORTS,
    agent_queue,
    control_queue,
)
from tests.attacks.amqp.conftest import Broker, transport_to
from tests.attacks.amqp.raw import RawMessage, headers, long_text
from tests.attacks.amqp.test_readers import reading
from tests.lab import RabbitMQ, until

OTHER = "lab-other"


def copies(header: bytes, *keys: str) -> bytes:
    """Return properties that have the broker deliver a message under further keys."""
    items = b"".join(long_text(key.encode()) for key in keys)
    return headers(header, b"A" + struct.pack(">I", len(items)) + items)


@pytest.mark.parametrize("header", [b"CC", b"BCC"])
def test_copies_reach_nobody_who_takes_commands(
    broker: Broker, agent: amqp.Channel, header: bytes
) -> None:
    keys = [f"agent.{OTHER}", f"control.{OTHER}", f"agent.{broker.host}", "conductor"]
    message = RawMessage(b"{}", copies(header, *keys, f"labapi.agent.{OTHER}"))
    with broker.transport.connect(heartbeat=False) as connection:
        broker_user.declare_queues(broker.transport, connection, OTHER)
        agent.basic_publish_confirm(
            message, REPORTS.name, f"result.{broker.host}", confirm_timeout=60
        )
        assert depth(connection, REPORT_QUEUE) == 1
        for queue in (
            CONDUCTOR_QUEUE,
            *(make(host) for make in (agent_queue, control_queue) for host in (OTHER, broker.host)),
        ):
            assert depth(connection, queue) == 0
        with connection.channel() as channel:
            REPORT_QUEUE(channel).purge()


@pytest.mark.parametrize("header", [b"CC", b"BCC"])
def test_copies_count_as_said_by_the_host_that_sent_them(
    broker: Broker, agent: amqp.Channel, header: bytes
) -> None:
    forged = RawMessage(
        encode(Goodbye(host=OTHER, agent="a")), copies(header, f"heartbeat.{OTHER}")
    )
    own = RawMessage(encode(Goodbye(host=broker.host, agent="a")), struct.pack(">H", 0))
    with reading(broker, HEARTBEAT_QUEUE) as reader:
        for message, kind in ((forged, "result"), (forged, "heartbeat"), (own, "heartbeat")):
            agent.basic_publish_confirm(
                message, REPORTS.name, f"{kind}.{broker.host}", confirm_timeout=60
            )
        reader.run_out()
    assert [said.host for said in reader.received if isinstance(said, Goodbye)] == [broker.host]


def test_a_broker_of_the_release_before_goes_on() -> None:
    """Queues that agents of both releases write to: through the old exchange and the new one."""
    server = RabbitMQ().create()
    transport = transport_to(server.url)
    old = Queue(
        REPORT_QUEUE.name,
        bindings=[binding(Exchange("labapi", type="topic"), routing_key="result.#")],
    )
    try:
        with transport.connect(heartbeat=False) as connection:
            with connection.channel() as channel:
                old(channel).declare()
            transport.declare(connection)
            with connection.channel() as channel:
                for exchange in (EXCHANGE, REPORTS):
                    channel.basic_publish(amqp.Message(b"{}"), exchange.name, "result.h")
            until(lambda: depth(connection, REPORT_QUEUE) == 2)
    finally:
        server.drop()


def depth(connection: Connection, queue: Queue) -> int:
    """Return how many messages wait in a queue."""
    with connection.channel() as channel:
        return int(queue(channel).queue_declare(passive=True).message_count)
