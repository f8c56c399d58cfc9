"""Readers of the in-process broker sleep; what they wake up for is counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Consumer, Queue

from labapi import config
from labapi.rpc.transport import EXCHANGE, Transport
from tests.lab import empty_in_process_broker, until


class Reader(threading.Thread):
    """Reads a queue until it has a message; counts how often it looks for one."""

    def __init__(self, transport: Transport, name: str) -> None:
        super().__init__(daemon=True)
        self.received: list[Any] = []
        self.looks = 0
        self.connection = transport.connect(heartbeat=False)
        queue = Queue(f"test.{name}", EXCHANGE, routing_key=name)
        self._consumer = Consumer(
            self.connection.channel(), [queue], on_message=self.received.append, no_ack=True
        )
        self._consumer.consume()
        cycle = self.connection.transport.cycle
        look = cycle.get

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.looks += 1
            return look(*args, **kwargs)

        cycle.get = counted

    def run(self) -> None:
        while not self.received:
            self.connection.drain_events(timeout=60)


@pytest.fixture
def transport() -> Iterator[Transport]:
    conf = config.new()
    conf([], project="labapi", default_config_files=[])
    yield Transport(conf)
    empty_in_process_broker()


def test_a_reader_looks_once_and_once_more_for_each_message(transport: Transport) -> None:
    readers = [Reader(transport, name) for name in ("one", "other")]
    for reader in readers:
        reader.start()
    until(lambda: [reader.looks for reader in readers] == [1, 1])
    with transport.connect(heartbeat=False) as connection:
        producer = connection.Producer()
        producer.publish(b"x", exchange=EXCHANGE, routing_key="one")
        readers[0].join(60)
        # A message for one of them leaves the other asleep.
        assert [reader.looks for reader in readers] == [2, 1]
        producer.publish(b"x", exchange=EXCHANGE, routing_key="other")
        readers[1].join(60)
    assert [reader.looks for reader in readers] == [2, 2]
    for reader in readers:
        reader.connection.release()


def test_a_wait_ends_in_time_without_looking_again(transport: Transport) -> None:
    reader = Reader(transport, "one")
    with pytest.raises(TimeoutError):
        reader.connection.drain_events(timeout=0.3)
    assert reader.looks == 1
    with pytest.raises(TimeoutError):
        reader.connection.drain_events(timeout=0)
    reader.connection.release()
