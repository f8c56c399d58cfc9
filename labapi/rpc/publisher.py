"""Sending: a publisher with a connection of its own that waits for the broker's confirms.

kombu waits for each confirm singly, which allows some 560 messages a second; here a whole batch is
sent and its confirms are awaited together, which allows ten times that. The connection is never
shared with a consumer: publishing drains events, and a consumer's callbacks would nest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kombu import Connection, Producer, Queue
from kombu.exceptions import OperationalError

from labapi.exceptions import BrokerUnavailable
from labapi.rpc.messages import CaseChanged, Message, encode
from labapi.rpc.signing import Signer
from labapi.rpc.transport import BROKER_ERRORS, EVENTS, EXCHANGE, Transport

TRANSIENT, PERSISTENT = 1, 2  # AMQP's delivery modes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message with where it goes.

    :ivar expires: seconds that it may wait in a queue, None for ever
    :ivar mandatory: report it when no queue takes it
    """

    message: Message
    routing_key: str
    exchange: str = EXCHANGE.name
    expires: float | None = None
    mandatory: bool = False


def event(change: CaseChanged) -> Envelope:
    """Return the announcement of a change of state."""
    return Envelope(change, f"testcase.{change.state}", exchange=EVENTS.name)


class Publisher:
    """Sends messages; safe to use from several threads, one batch at a time.

    Reports outlive a restart of the broker; what is repeated anyway does not reach its disk.

    :param transport: how to reach the broker
    :param confirm: False to send without waiting for confirms, for what may be lost
    :param signer: signs commands
    :param queues: where answers arrive; they are made before the first message is sent
    """

    def __init__(
        self,
        transport: Transport,
        *,
        confirm: bool = True,
        signer: Signer | None = None,
        queues: Sequence[Queue] = (),
    ) -> None:
        self._transport = transport
        self._queues = queues
        self._signer = signer
        self._confirm = confirm and not transport.in_process
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def publish(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """Send a batch and wait until the broker has taken responsibility for all of it.

        A batch that meets a dead connection is sent once more over a new one, so a receiver may
        see a message twice.

        :returns: the mandatory ones among them that no queue took
        :raises BrokerUnavailable: the broker is away, refuses, or does not confirm within
            ``confirm_timeout``; any of the messages may or may not arrive
        """
        with self._lock:
            fresh = self._connection is None
            try:
                return self._send(envelopes)
            except BROKER_ERRORS as error:
                self._drop()
                if fresh:
                    raise BrokerUnavailable(f"the message broker is away: {error}") from error
            try:
                return self._send(envelopes)
            except BROKER_ERRORS as error:
                self._drop()
                raise BrokerUnavailable(f"the message broker is away: {error}") from error

    def close(self) -> None:
        """Close the connection; a later ``publish`` opens a new one."""
        with self._lock:
            self._drop()

    def _send(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        connection = self._connection or self._open()
        for number, envelope in enumerate(envelopes):
            self._confirms.expect()
            message = envelope.message
            body = encode(message)
            self._producer.publish(
                body,
                headers=self._headers(envelope, body),
                exchange=envelope.exchange,
                routing_key=envelope.routing_key,
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode=TRANSIENT if message.repeated else PERSISTENT,
                expiration=envelope.expires,
                mandatory=envelope.mandatory,
                message_id=str(number),
                timeout=self._transport.confirm_timeout,
            )
        returned = self._confirms.wait(connection, self._transport.confirm_timeout)
        return [envelopes[number] for number in returned]

    def _headers(self, envelope: Envelope, body: bytes) -> dict[str, str]:
        if self._signer is None or not envelope.message.signed:
            return {}
        return self._signer.headers(body, envelope.expires)

    def _open(self) -> Connection:
        connection = self._transport.connect(heartbeat=False)
        self._transport.declare(connection, *self._queues)
        channel = connection.channel()
        self._confirms = _Confirms(channel) if self._confirm else _NoConfirms()
        self._producer = Producer(channel, auto_declare=False)
        self._connection = connection
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect(socket_timeout=self._transport.connect_timeout)


class _NoConfirms:
    """For the in-process broker, and for messages that may be lost."""

    def expect(self) -> None:
        """Note that a message is about to be sent."""

    def wait(self, connection: Connection, timeout: float) -> list[int]:
        """Return at once."""
        return []


class _Confirms(_NoConfirms):
    """The confirms of one channel (RabbitMQ's ``confirm.select``), awaited a batch at a time."""

    def __init__(self, channel: Any) -> None:
        channel.confirm_select()
        channel.events["basic_ack"].add(self._acked)
        channel.events["basic_nack"].add(self._nacked)
        channel.events["basic_return"].add(self._unroutable)
        self._sent = 0
        self._pending: set[int] = set()
        self._refused = False
        self._returned: list[int] = []

    def expect(self) -> None:
        """Count a message; the broker numbers them from 1 in the order in which they are sent."""
        self._sent += 1
        self._pending.add(self._sent)

    def wait(self, connection: Connection, timeout: float) -> list[int]:
        """Wait for the confirms of all that was sent; return the numbers that no queue took."""
        deadline = time.monotonic() + timeout
        while self._pending:
            connection.drain_events(timeout=max(deadline - time.monotonic(), 0.001))
        if self._refused:
            raise OperationalError("the broker refused a message")
        returned, self._returned = self._returned, []
        return returned

    def _acked(self, delivery_tag: int, multiple: bool) -> None:
        if multiple:
            self._pending = {tag for tag in self._pending if tag > delivery_tag}
        else:
            self._pending.discard(delivery_tag)

    def _nacked(self, delivery_tag: int, multiple: bool) -> None:
        self._refused = True
        self._acked(delivery_tag, multiple)

    def _unroutable(self, error: Any, exchange: str, routing_key: str, message: Any) -> None:
        # The broker sends the return before the confirm, so it is here when the wait ends.
        self._returned.append(int(message.properties["message_id"]))
