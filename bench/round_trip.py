"""A message to another process and back, with kombu alone: what no dispatch can be faster than.

python -m bench.round_trip echo URL
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any

from kombu import Connection, Consumer, Producer, Queue

TIMEOUT = 10.0  # seconds
QUEUE = "bench.echo"
BODY = {"case": "5b9e675c-728d-4eb7-9b9f-cc76ebdd4381", "parameters": {"command": "true"}}


class _Peer:
    """A connection to send over and one to receive over, as the services have them."""

    def __init__(self, url: str, queue: Queue, got: Callable[[Any], None]) -> None:
        self._sending, self._receiving = Connection(url), Connection(url)
        self.producer = Producer(self._sending.channel())
        bound = queue(self._receiving.channel())
        bound.declare()
        self._consumer = Consumer(
            bound.channel, [queue], on_message=got, no_ack=True, auto_declare=False
        )
        self._consumer.consume()

    def wait(self) -> None:
        self._receiving.drain_events(timeout=TIMEOUT)

    def close(self) -> None:
        self._sending.release()
        self._receiving.release()


class RoundTrip:
    """Sends messages to the process that echoes them.

    :param url: of the broker
    """

    def __init__(self, url: str) -> None:
        self._answers: list[Any] = []
        name = f"bench.answers.{uuid.uuid4()}"
        self._peer = _Peer(url, Queue(name, auto_delete=True), self._answers.append)
        self._reply_to = name

    def __enter__(self) -> RoundTrip:
        """Return this."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._peer.close()

    def run(self, seconds: float) -> list[float]:
        """Send one message after the other and return the milliseconds that each took."""
        took = []
        end = time.perf_counter() + seconds
        while (sent := time.perf_counter()) < end:
            self._peer.producer.publish(BODY, routing_key=QUEUE, reply_to=self._reply_to)
            while not self._answers:
                self._peer.wait()
            self._answers.clear()
            took.append((time.perf_counter() - sent) * 1000)
        return took


def _echo(url: str) -> None:
    def answer(message: Any) -> None:
        peer.producer.publish(BODY, routing_key=message.properties["reply_to"])

    peer = _Peer(url, Queue(QUEUE), answer)
    sys.stdout.write("echoes\n")
    sys.stdout.flush()
    while True:
        try:
            peer.wait()
        except TimeoutError:
            continue


if __name__ == "__main__":
    _echo(sys.argv[2])
