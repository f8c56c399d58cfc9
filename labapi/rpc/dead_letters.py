"""Where consumers put what they drop: a bounded queue that an operator can look into.

The consumers publish there themselves. A dead-letter exchange as an argument of the queues would
need no code, but the arguments of a queue that exists cannot be changed, so that an upgrade would
have to delete queues with what is in them. The queue keeps the latest ``MAX_LETTERS``; what is in
it is evidence, and nothing reads it again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import amqp
from kombu import Connection, Queue

MAX_LETTERS = 1000
MAX_LETTERS_BYTES = 16 * 1024 * 1024
KEPT_BYTES = 16 * 1024  # of a body

DEAD_LETTERS = Queue(
    "labapi.dead",
    durable=True,
    queue_arguments={
        "x-max-length": MAX_LETTERS,
        "x-max-length-bytes": MAX_LETTERS_BYTES,
        "x-overflow": "drop-head",
    },
)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was dropped.

    :ivar dropped: seconds since the epoch
    :ivar consumer: who dropped it
    :ivar routing_key: with which it was sent
    :ivar cause: why it was dropped
    :ivar size: bytes of the body
    :ivar body: its beginning
    """

    dropped: float
    consumer: str
    routing_key: str
    cause: str
    size: int
    body: bytes


def put(channel: amqp.Channel, letter: DeadLetter) -> None:
    """Put a letter into the queue; nothing waits for a confirm."""
    headers = {
        "dropped": f"{letter.dropped:.3f}",
        "consumer": letter.consumer,
        "routing-key": letter.routing_key,
        "cause": letter.cause,
        "size": letter.size,
    }
    message = amqp.Message(
        letter.body,
        content_type="application/octet-stream",
        application_headers=headers,
        delivery_mode=2,
    )
    channel.basic_publish(message, exchange="", routing_key=DEAD_LETTERS.name)


def letter(raw: Any, body: bytes, consumer: str, cause: str) -> DeadLetter:
    """Return the letter for a message that a consumer drops now."""
    key = str(raw.delivery_info.get("routing_key") or "")
    return DeadLetter(time.time(), consumer, key, cause[:1000], len(body), body[:KEPT_BYTES])


def count(connection: Connection) -> int:
    """Return how many letters there are."""
    with connection.channel() as channel:
        found = DEAD_LETTERS(channel)
        return int(found.queue_declare(passive=True).message_count)


def read(connection: Connection) -> Iterator[DeadLetter]:
    """Yield the letters, oldest first; they stay in the queue."""
    with connection.channel() as channel:  # what is not acknowledged goes back when it closes
        for _ in range(MAX_LETTERS):
            raw = channel.basic_get(DEAD_LETTERS.name)
            if raw is None:
                return
            yield _read(raw)


def purge(connection: Connection) -> int:
    """Delete the letters; return how many there were."""
    with connection.channel() as channel:
        return int(DEAD_LETTERS(channel).purge())


def _read(raw: Any) -> DeadLetter:
    headers = raw.headers or {}
    return DeadLetter(
        float(headers.get("dropped", 0.0)),
        str(headers.get("consumer", "")),
        str(headers.get("routing-key", "")),
        str(headers.get("cause", "")),
        int(headers.get("size", 0)),
        raw.body if isinstance(raw.body, bytes) else str(raw.body).encode(),
    )
