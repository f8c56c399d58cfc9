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
from labapi.rpc import dead_letters
from labapi.rpc.frames import UNREADABLE, leave_bodies_alone
from labapi.rpc.messages import MAX_REPORT, Message, decode
from labapi.rpc.signing import Verifier
from labapi.rpc.tally import Tally
from labapi.rpc.transport import BROKER_ERRORS, Transport, sender

LOG = log.getLogger(__name__)

IDLE = 0.5  # seconds between looks at the stop flag and at the connection's heartbeat
FIRST_PAUSE = 0.2  # seconds after a first error; doubled up to [messaging] retry_interval_max
UNAVAILABLE_PAUSE = 1.0  # seconds until a batch is tried again whose handler found a server away
BATCH_BYTES = MAX_REPORT  # a batch ends with the message that reaches so many

Pair = tuple[Any, Message]  # as it came, and what it says


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
    :param keep_dropped: False where the user may not write to the queue of dead letters
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
        self._keep_dropped = keep_dropped
        self._received: list[Any] = []
        self._received_bytes = 0
        self._dropped = Tally()
        self._away = False
        self._fault = ""
        self._pause = 0.0
        self.connections = 0
        self.consuming = threading.Event()

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
                if self._away:
                    LOG.info("%s: the message broker is back", self.name)
                self._away = False
                self._consume(connection)
                self._pause = 0.0
            except Unavailable as error:
                # Closing the connection gives the batch back to the broker, in its order.
                LOG.warning("%s: %s; trying again", self.name, error)
                self._pause = UNAVAILABLE_PAUSE
            except Exception as error:  # noqa: BLE001 - it is noted, and the lab goes on
                self._note(error, connection)
                self._pause_longer()
                self._abandon(connection)
                connection = None
            if connection is not None:
                connection.release()

    def _note(self, error: Exception, connection: Connection | None) -> None:
        """Log what ended a connection, once: an outage in a line, a fault with its traceback."""
        # py-amqp shows a lost connection by an AttributeError, too; then it is not connected.
        lost = connection is not None and not connection.connected
        if lost or isinstance(error, BROKER_ERRORS):
            if not self._away:
                what = "is away" if connection is None else "was lost"
                LOG.warning(
                    "%s: the message broker %s: %s: %s",
                    self.name,
                    what,
                    type(error).__name__,
                    error,
                )
            self._away = True
        elif (fault := f"{type(error).__name__}: {error}") != self._fault:
            LOG.error("%s: cannot read its messages", self.name, exc_info=error)
            self._fault = fault

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
        timeout = IDLE
        while not self._full():
            try:
                connection.drain_events(timeout=timeout)
            except TimeoutError:
                return
            # Any wait for what may come costs what has come a millisecond of poll(2).
            timeout = 0

    def _work_off(self, connection: Connection) -> None:
        taken = self._received[: self._batch]
        del self._received[: self._batch]
        self._received_bytes = sum(len(raw.body or b"") for raw in self._received)
        pairs: list[Pair] = []
        dropped: list[tuple[Any, str]] = []
        for raw in taken:
            try:
                if self._verifier is None or self._verifier.accepts(_body(raw), raw.headers):
                    pairs.append((raw, _read(raw)))
            except BadMessage as error:
                dropped.append((raw, str(error)))
        self._deliver(pairs, dropped)
        if dropped:
            self._drop(connection, dropped)
        if self._acknowledge:
            self._settle(taken)

    def _drop(self, connection: Connection, dropped: list[tuple[Any, str]]) -> None:
        """Put messages into the queue of dead letters; the log tells of the first now and then."""
        for _, cause in dropped:
            if so_far := self._dropped.add(self.name):
                LOG.error("%s: dropped a message (%d so far): %.500r", self.name, so_far, cause)
        if not self._keep_dropped or self._transport.in_process:
            return
        with connection.channel() as channel:
            for raw, cause in dropped:
                dead_letters.put(channel, dead_letters.letter(raw, _body(raw), self.name, cause))

    def _settle(self, taken: list[Any]) -> None:
        if self._transport.in_process:  # it takes them one by one only
            for raw in taken:
                raw.ack()
        else:
            # They came over one channel in the order of their tags, and none before them is left.
            taken[-1].ack(multiple=True)

    def _deliver(self, pairs: list[Pair], dropped: list[tuple[Any, str]]) -> None:
        """Hand a batch over; if it breaks the handler, find the message that does."""
        while pairs:
            try:
                return self._handle([message for _, message in pairs])
            except ForSomebodyElse:
                raise
            except Unavailable as error:
                # The in-process broker takes nothing back, so the batch stays here.
                if not self._transport.in_process or self._stopping.wait(1.0):
                    raise
                LOG.warning("%s: %s; trying again", self.name, error)
            except Exception as error:
                if len(pairs) == 1:
                    raw, message = pairs[0]
                    kind = type(message).__name__
                    LOG.exception("%s: dropped a message: %s", self.name, kind)
                    dropped.append((raw, f"{kind}: {type(error).__name__}: {error}"))
                    return None
                LOG.warning("%s: a batch failed (%s); one by one", self.name, type(error).__name__)
                for pair in pairs:
                    self._deliver([pair], dropped)
                return None
        return None


def _read(raw: Any) -> Message:
    """Return the message, if it comes from the host that it names.

    :raises BadMessage: it does not, or it is not of the protocol
    """
    if str(raw.content_type).startswith(UNREADABLE):
        raise BadMessage(raw.content_type.removeprefix(UNREADABLE))
    message = decode(_body(raw))
    host = sender(raw.delivery_info.get("routing_key") or "")
    named = getattr(message, "host", host)
    if host is not None and named != host:
        raise BadMessage(f"it names the host {named!r}")
    return message


def _body(raw: Any) -> bytes:
    body = raw.body
    return body if isinstance(body, bytes) else str(body).encode()
