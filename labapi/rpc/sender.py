"""Messages sent over one channel, a batch at a time, and the broker's confirms of them.

kombu waits for each confirm singly, which allows some 560 messages a second; here a whole batch is
sent and its confirms are awaited together, which allows ten times that. Whoever owns the connection
reads it, and thereby learns of confirms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import amqp
from kombu import Producer
from kombu.exceptions import OperationalError

from labapi.rpc import outgoing
from labapi.rpc.messages import Message, encode
from labapi.rpc.outgoing import PERSISTENT, TRANSIENT, Outgoing
from labapi.rpc.signing import Signer
from labapi.rpc.transport import EXCHANGE


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


class Sender:
    """Sends one batch after another over a channel. For one thread.

    Reports outlive a restart of the broker; what is repeated anyway does not reach its disk.

    :param channel: kombu's
    :param confirm: have the broker confirm each message (RabbitMQ's ``confirm.select``)
    :param timeout: seconds that the broker may take to read a message
    """

    def __init__(self, channel: Any, *, confirm: bool, timeout: float) -> None:
        self._confirm = confirm
        self._timeout = timeout
        if confirm:
            channel.confirm_select()
            channel.events["basic_ack"].add(self._acked)
            channel.events["basic_nack"].add(self._nacked)
            channel.events["basic_return"].add(self._unroutable)
        self._channel = channel
        self._producer = Producer(channel, auto_declare=False)
        self._in_process = not isinstance(channel, amqp.Channel)
        self._batch: Sequence[Envelope] = ()
        self._sent = 0
        self._pending: set[int] = set()
        self._refused = False
        self._returned: list[int] = []

    def send(self, envelopes: Sequence[Envelope], signer: Signer | None = None) -> None:
        """Send a batch; the one before has been confirmed.

        :param signer: signs commands
        """
        messages = [_outgoing(*numbered, signer) for numbered in enumerate(envelopes)]
        self._batch = envelopes
        if self._confirm:
            # The broker numbers them from 1 in the order in which they are sent.
            first, self._sent = self._sent + 1, self._sent + len(messages)
            self._pending.update(range(first, self._sent + 1))
        if self._in_process:
            self._put(messages)
        else:
            outgoing.write(self._channel, messages, self._timeout)

    def _put(self, messages: Sequence[Outgoing]) -> None:
        """Put messages into the queues of this process."""
        for message in messages:
            self._producer.publish(
                message.body,
                headers=message.headers,
                exchange=message.exchange,
                routing_key=message.routing_key,
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode=message.mode,
                expiration=message.expires,
                message_id=message.id,
            )

    @property
    def waits(self) -> bool:
        """Whether confirms of the batch are to come."""
        return bool(self._pending)

    def returned(self) -> list[Envelope]:
        """Return what no queue took of the batch, once all of it is confirmed.

        :raises OperationalError: the broker refused a message
        """
        if self._refused:
            raise OperationalError("the broker refused a message")
        numbers, self._returned = self._returned, []
        return [self._batch[number] for number in numbers]

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


def _outgoing(number: int, envelope: Envelope, signer: Signer | None) -> Outgoing:
    message = envelope.message
    body = encode(message)
    signed = signer is not None and message.signed
    return Outgoing(
        body,
        envelope.exchange,
        envelope.routing_key,
        signer.headers(body, envelope.expires) if signer and signed else {},
        mode=TRANSIENT if message.repeated else PERSISTENT,
        expires=envelope.expires,
        mandatory=envelope.mandatory,
        id=str(number),
    )
