"""One of the agent's two queues, as it is read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from kombu import Consumer, Queue

from labapi.exceptions import NoRoom, Unavailable
from labapi.rpc import outgoing
from labapi.rpc.delivery import Delivery
from labapi.rpc.messages import MAX_BYTES, Message
from labapi.rpc.signing import Verifier

FIRST_PAUSE = 0.2  # seconds until a batch comes again that was for later; doubled each time
LONGEST_PAUSE = 5.0


class Reading:
    """A queue, who gets its messages, and how far that is. For the link's thread, but for two.

    :param handle: as of :class:`~labapi.rpc.delivery.Delivery`
    :param batch: the most messages in one call
    :param ready: False while what comes is to wait at the broker
    :param alone: acknowledge message by message: older ones of the channel may be for later
    :ivar wanted: it is to be read; any thread may say
    :ivar consumes: the broker sends what comes
    :ivar idle: set while it is not read; for any thread to wait for
    :ivar received: what is not handed over yet
    :ivar full: there is a whole batch of it, or as much as is to be in memory
    :ivar due: monotonic time before which it rests
    """

    def __init__(
        self,
        name: str,
        queue: Queue,
        handle: Callable[[list[Message]], None],
        *,
        batch: int,
        verifier: Verifier | None,
        alone: bool,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self.queue = queue
        self._batch = batch
        self._alone = alone
        self._ready = ready
        self._delivery = Delivery(name, handle, verifier)
        self.wanted = True
        self.consumes = False
        self.idle = threading.Event()
        self.idle.set()
        self.received: list[Any] = []
        self.full = False
        self._bytes = 0
        self.due = 0.0
        self._pause = 0.0
        self._consumer: Consumer | None = None

    def may_begin(self) -> bool:
        """Say whether to begin now; if not yet, let it rest."""
        if not self.wanted or self.consumes or time.monotonic() < self.due:
            return False
        if not self._ready():
            self.rest(FIRST_PAUSE)
            return False
        return True

    def begin(self, channel: Any) -> None:
        """Have the broker send messages over a channel.

        :raises amqp.exceptions.ChannelError: it does not, and the channel is closed
        """
        consumer = Consumer(
            channel,
            [self.queue],
            on_message=self._receive,
            auto_declare=False,
            # RabbitMQ's prefetch window is that of the consumer that begins next.
            prefetch_count=2 * self._batch,
        )
        consumer.consume()
        self._consumer, self.consumes = consumer, True
        self.idle.clear()

    def _receive(self, raw: Any) -> None:
        self.received.append(raw)
        self._bytes += len(raw.body or b"")
        self.full = len(self.received) >= self._batch or self._bytes >= MAX_BYTES

    def cancel(self) -> None:
        """Have the broker send no more; what has come is still to be given back."""
        if self._consumer is not None:
            self._consumer.cancel()
            self.forget()

    def forget(self) -> None:
        """Note that its channel is gone."""
        self._consumer, self.consumes = None, False
        self.drop()
        self.idle.set()

    def drop(self) -> None:
        """Forget what has come: the broker has it back."""
        self.received.clear()
        self._bytes, self.full = 0, False

    def work_off(self, *, in_process: bool) -> None:
        """Hand over what has come, and acknowledge it.

        :raises Unavailable: it is for later: it rests, and what is left is to be given back
        """
        while self.received and time.monotonic() >= self.due:
            taken = self.received[: self._batch]
            try:
                if not self._ready():
                    raise NoRoom("there is enough to do here")
                self._delivery.deliver(taken)
            except Unavailable as error:
                self._delivery.note_unavailable(error)
                # To look for room costs nothing; slots are not to wait for cases.
                again = isinstance(error, NoRoom)
                self.rest(FIRST_PAUSE if again else max(2 * self._pause, FIRST_PAUSE))
                raise
            rest = self.received[len(taken) :]
            self.drop()
            for raw in rest:
                self._receive(raw)
            self._pause = 0.0
            if self._alone or in_process:  # which takes them one by one only
                for raw in taken:
                    raw.ack()
            else:
                outgoing.acknowledge(taken[-1].channel, taken[-1].delivery_tag)

    def rest(self, seconds: float) -> None:
        """Let it rest for so long, within bounds."""
        self._pause = min(seconds, LONGEST_PAUSE)
        self.due = time.monotonic() + self._pause
