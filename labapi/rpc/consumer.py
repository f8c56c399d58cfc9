"""Receiving: a thread that reads a queue in batches and never gives up on its broker.

A batch is what has arrived by the time the handler is free, up to a size: under load one
transaction serves many messages, without load a message waits for nobody. Where a steady stream
may wait a little, a pace makes the batches larger still. Messages are acknowledged when the handler
has returned, so what it did is done before the broker forgets.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

from kombu import Connection, Consumer, Queue
from oslo_log import log

from labapi.exceptions import BadMessage, ForSomebodyElse, Unavailable
from labapi.rpc.messages import Message, decode
from labapi.rpc.signing import Verifier
from labapi.rpc.transport import BROKER_ERRORS, Transport, sender

LOG = log.getLogger(__name__)

IDLE = 0.5  # seconds between looks at the stop flag and at the connection's heartbeat


class BatchConsumer(threading.Thread):
    """Reads queues in batches until it is stopped.

    :param transport: how to reach the broker
    :param queues: what to read
    :param handle: gets a list of messages, which are acknowledged when it returns. When it raises
        :class:`~labapi.exceptions.Unavailable` they are handed to it again after a pause, by this
        consumer or another. With any other error they are handed over one by one, and a message
        that fails alone is logged and dropped: it would fail for ever.
    :param batch: the most messages in one call
    :param acknowledge: False to have the broker forget messages as it sends them
    :param verifier: drops what it does not accept, before it is read
    :param pace: seconds to let messages gather after a batch that was not full
    """

    def __init__(
        self,
        transport: Transport,
        queues: list[Queue],
        handle: Callable[[list[Message]], None],
        *,
        name: str,
        batch: int = 200,
        acknowledge: bool = True,
        pace: float = 0.0,
        verifier: Verifier | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._transport = transport
        self._queues = queues
        self._handle = handle
        self._batch = batch
        self._acknowledge = acknowledge
        self._pace = pace
        self._verifier = verifier
        self._stopping = threading.Event()
        self._received: list[Any] = []
        self._away = False
        self.consuming = threading.Event()

    def stop(self, timeout: float = 10.0) -> None:
        """End after the batch at hand; wait for it at most ``timeout`` seconds."""
        self._stopping.set()
        if self.is_alive():
            self.join(timeout)

    def run(self) -> None:
        """Consume; after an error, pause and connect anew, for as long as it takes."""
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                connection = self._connect()
            except BROKER_ERRORS as error:
                self._note_away(f"the message broker is away: {error}")
                pause = min(max(2 * pause, 0.5), self._transport.retry_interval_max)
                pause *= random.uniform(0.5, 1.0)  # noqa: S311 (spreads reconnects)
                continue
            if self._away:
                LOG.info("%s: the message broker is back", self.name)
            self._away = False
            pause = self._consume_until_it_ends(connection)

    def _consume_until_it_ends(self, connection: Connection) -> float:
        """Consume over a connection and close it; return how long to pause before the next one."""
        try:
            self._consume(connection)
        except Unavailable as error:
            # Closing the connection gives the batch back to the broker, in its order.
            LOG.warning("%s: %s; trying again", self.name, error)
            connection.release()
            return 1.0
        except Exception as error:  # noqa: BLE001 - a dead connection shows in many ways in py-amqp
            self._note_away(f"lost the message broker: {type(error).__name__}: {error}")
            connection.collect(socket_timeout=self._transport.connect_timeout)
            return 0.2
        connection.release()
        return 0.0

    def _note_away(self, what: str) -> None:
        if not self._away:
            LOG.warning("%s: %s", self.name, what)
        self._away = True

    def _connect(self) -> Connection:
        connection = self._transport.connect(heartbeat=True)
        try:
            self._transport.declare(connection, *self._queues)
        except BROKER_ERRORS:
            connection.collect(socket_timeout=self._transport.connect_timeout)
            raise
        return connection

    def _consume(self, connection: Connection) -> None:
        channel = connection.channel()
        self._received.clear()
        consumer = Consumer(
            channel,
            self._queues,
            on_message=self._received.append,
            no_ack=not self._acknowledge,
            auto_declare=False,
            # Without a prefetch window one slow conductor would hold the whole queue.
            prefetch_count=2 * self._batch,
        )
        checked = time.monotonic()
        with consumer:
            self.consuming.set()
            try:
                while not self._stopping.is_set():
                    self._drain(connection)
                    if self._transport.heartbeat and time.monotonic() - checked >= IDLE:
                        connection.heartbeat_check()
                        checked = time.monotonic()
                    if self._received:
                        full = len(self._received) >= self._batch
                        self._work_off()
                        # Asleep, not polling: to wake for each message costs more than to read it.
                        self._stopping.wait(0.0 if full else self._pace)
            finally:
                self.consuming.clear()

    def _drain(self, connection: Connection) -> None:
        """Wait for a first message, then take what is there already."""
        timeout = IDLE
        while len(self._received) < self._batch:
            try:
                connection.drain_events(timeout=timeout)
            except TimeoutError:
                return
            # Any wait at all for what may come is a millisecond of poll(2) for what has come.
            timeout = 0

    def _work_off(self) -> None:
        taken = self._received[: self._batch]
        del self._received[: self._batch]
        messages = []
        for raw in taken:
            key = raw.delivery_info.get("routing_key") or ""
            try:
                if self._verifier is None or self._verifier.accepts(_body(raw), raw.headers):
                    messages.append(_read(raw, key))
            except BadMessage as error:
                LOG.error("%s: dropped a message on %s: %s", self.name, key, error)
        self._deliver(messages)
        if self._acknowledge:
            self._settle(taken)

    def _settle(self, taken: list[Any]) -> None:
        if self._transport.in_process:  # it takes them one by one only
            for raw in taken:
                raw.ack()
        else:
            # They came over one channel in the order of their tags, and none before them is left.
            taken[-1].ack(multiple=True)

    def _deliver(self, messages: list[Message]) -> None:
        """Hand a batch over; if it breaks the handler, find the message that does."""
        while messages:
            try:
                return self._handle(messages)
            except ForSomebodyElse:
                raise
            except Unavailable as error:
                # The in-process broker takes nothing back, so the batch stays here.
                if not self._transport.in_process or self._stopping.wait(1.0):
                    raise
                LOG.warning("%s: %s; trying again", self.name, error)
            except Exception as error:
                if len(messages) == 1:
                    kind = type(messages[0]).__name__
                    LOG.exception("%s: dropped a message: %s", self.name, kind)
                    return None
                LOG.warning("%s: a batch failed (%s); one by one", self.name, type(error).__name__)
                for message in messages:
                    self._deliver([message])
                return None
        return None


def _read(raw: Any, routing_key: str) -> Message:
    """Return the message, if it comes from the host that it names.

    :raises BadMessage: it does not, or it is none
    """
    message = decode(_body(raw))
    host = sender(routing_key)
    named = getattr(message, "host", host)
    if host is not None and named != host:
        raise BadMessage(f"it names the host {named!r}")
    return message


def _body(raw: Any) -> bytes:
    body = raw.body
    return body if isinstance(body, bytes) else str(body).encode()
