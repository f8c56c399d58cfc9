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

from labapi.exceptions import Unavailable
from labapi.rpc import buffered, dead_letters, outgoing
from labapi.rpc.delivery import Delivery, Dropped, body_of
from labapi.rpc.frames import leave_bodies_alone
from labapi.rpc.messages import MAX_REPORT, Message
from labapi.rpc.outage import Contact
from labapi.rpc.signing import Verifier
from labapi.rpc.transport import Transport

LOG = log.getLogger(__name__)

IDLE = 0.5  # seconds between looks at the stop flag and at the connection's heartbeat
FIRST_PAUSE = 0.2  # seconds after a first error; doubled up to [messaging] retry_interval_max
UNAVAILABLE_PAUSE = 1.0  # seconds until a batch is tried again whose handler found a server away
BATCH_BYTES = MAX_REPORT  # a batch ends with the message that reaches so many


class BatchConsumer(threading.Thread):
    """Reads queues in batches until it is stopped.

    :param transport: how to reach the broker
    :param queues: what to read
    :param handle: as of :class:`~labapi.rpc.delivery.Delivery`; when it returns the messages are
        acknowledged, and what is for later comes again after a pause, here or to another consumer
    :param batch: the most messages in one call
    :param acknowledge: False to have the broker forget messages as it sends them
    :param verifier: drops what it does not accept, before it is read
    :param keep_dropped: False where the user may not write to the queue of dead letters
    :param seen: told of each batch: the name of the reader, its messages, and those it dropped
    :param pace: seconds to let messages gather after a batch that was not full
    :ivar connections: how often it has begun to read, over a new connection each time
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
        keep_dropped: bool = True,
        seen: Callable[[str, int, int], None] | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._transport = transport
        self._queues = queues
        self._batch = batch
        self._acknowledge = acknowledge
        self._pace = pace
        self._stopping = threading.Event()
        self._delivery = Delivery(name, handle, verifier, self._keeps)
        self._keep_dropped = keep_dropped
        self._seen = seen
        self._received: list[Any] = []
        self._received_bytes = 0
        self._pause = 0.0
        self._contact = Contact(name, transport.address)
        self.connections = 0
        self.consuming = threading.Event()

    @property
    def trouble(self) -> str:
        """What keeps it from the broker, empty if nothing does."""
        return self._contact.trouble

    def stop(self, timeout: float = 10.0) -> None:
        """End after the batch at hand; wait for it at most ``timeout`` seconds."""
        self._stopping.set()
        if self.is_alive():
            self.join(timeout)

    def run(self) -> None:
        """Consume; after an error, pause and connect anew, for as long as it takes."""
        while not self._stopping.wait(self._pause):
            connection = None
            try:
                connection = self._transport.connect(heartbeat=True, guarded=True)
                self._transport.declare(connection, *self._queues)
                self._consume(connection)
                self._pause = 0.0
            except Unavailable as error:
                # Closing the connection gives the batch back to the broker, in its order.
                self._delivery.note_unavailable(error)
                self._pause = UNAVAILABLE_PAUSE
            except Exception as error:  # noqa: BLE001 - it is noted, and the lab goes on
                self._contact.note(error, connection)
                self._pause_longer()
                self._abandon(connection)
                connection = None
            if connection is not None:
                connection.release()

    def _keeps(self) -> bool:
        """Wait if the broker takes nothing back, as the in-process one, so that a batch stays."""
        return self._transport.in_process and not self._stopping.wait(1.0)

    def _pause_longer(self) -> None:
        longest = self._transport.retry_interval_max
        self._pause = min(max(2 * self._pause, FIRST_PAUSE), longest)
        self._pause *= random.uniform(0.5, 1.0)  # noqa: S311 (spreads reconnects)

    def _abandon(self, connection: Connection | None) -> None:
        if connection is not None:
            connection.collect(socket_timeout=self._transport.connect_timeout)

    def _consume(self, connection: Connection) -> None:
        channel = connection.channel()
        leave_bodies_alone(channel)
        self._received.clear()
        self._received_bytes = 0
        consumer = Consumer(
            channel,
            self._queues,
            on_message=self._receive,
            no_ack=not self._acknowledge,
            auto_declare=False,
            # Without a prefetch window one slow conductor would hold the whole queue.
            prefetch_count=2 * self._batch,
        )
        checked = time.monotonic()
        with consumer:
            self._contact.back()
            self.connections += 1
            self.consuming.set()
            try:
                while not self._stopping.is_set():
                    self._drain(connection)
                    if self._transport.heartbeat and time.monotonic() - checked >= IDLE:
                        connection.heartbeat_check()
                        checked = time.monotonic()
                    if self._received:
                        full = self._full()
                        self._work_off(connection)
                        self._pause = 0.0
                        # Asleep, not polling: to wake for each message costs more than to read it.
                        self._stopping.wait(0.0 if full else self._pace)
            finally:
                self.consuming.clear()

    def _receive(self, raw: Any) -> None:
        self._received.append(raw)
        self._received_bytes += len(raw.body or b"")

    def _full(self) -> bool:
        return len(self._received) >= self._batch or self._received_bytes >= BATCH_BYTES

    def _drain(self, connection: Connection) -> None:
        """Wait for a first message, then take what is there already."""
        if self._full():
            return
        try:
            connection.drain_events(timeout=IDLE)
        except TimeoutError:
            return
        # Any wait for what may come costs what has come a millisecond of poll(2).
        if not self._full():
            buffered.read_all(connection, self._full)

    def _work_off(self, connection: Connection) -> None:
        taken = self._received[: self._batch]
        del self._received[: self._batch]
        self._received_bytes = sum(len(raw.body or b"") for raw in self._received)
        dropped = self._delivery.deliver(taken)
        if dropped:
            self._drop(connection, dropped)
        if self._acknowledge:
            self._settle(taken)
        if self._seen is not None:
            self._seen(self.name, len(taken), len(dropped))

    def _drop(self, connection: Connection, dropped: list[Dropped]) -> None:
        """Put messages into the queue of dead letters."""
        if not self._keep_dropped or self._transport.in_process:
            return
        with connection.channel() as channel:
            for raw, cause in dropped:
                letter = dead_letters.letter(raw, body_of(raw), self.name, cause)
                dead_letters.put(channel, letter)

    def _settle(self, taken: list[Any]) -> None:
        if self._transport.in_process:  # it takes them one by one only
            for raw in taken:
                raw.ack()
        else:
            # They came over one channel in the order of their tags, and none before them is left.
            outgoing.acknowledge(taken[-1].channel, taken[-1].delivery_tag)
