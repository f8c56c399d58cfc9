"""Requests that wait until a case is finished."""

from __future__ import annotations

import functools
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from kombu import Queue

from labapi.rpc.consumer import BatchConsumer
from labapi.rpc.messages import CaseChanged, Ending, Message
from labapi.rpc.transport import EVENTS, Transport

T = TypeVar("T")

# Seconds after which a waiter looks into the database though no event came: the first look is soon,
# in case the event was lost on the way.
LOOKS = (1.0, 2.0, 5.0)


class Ended(threading.Event):
    """Is set when cases have ended.

    :ivar told: what their events told of them, by UUID; an event that is lost tells nothing
    """

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, Ending] = {}


class Waiters:
    """Wakes requests when the event of their case comes.

    :ivar ending: this process stops, and requests should not wait any longer
    """

    def __init__(self, transport: Transport) -> None:
        self.ending = False
        self._lock = threading.Lock()
        self._waiting: dict[str, set[Callable[[Ending | None], None]]] = defaultdict(set)
        name = f"labapi.api.{uuid.uuid4()}"
        # The queue is this process's own and goes with its connection.
        events = Queue(
            name, EVENTS, routing_key="testcase.finished", exclusive=True, auto_delete=True
        )
        self._consumer = BatchConsumer(
            transport, [events], self._wake, name="waiters", acknowledge=False
        )

    def start(self) -> None:
        """Start listening."""
        self._consumer.start()

    @property
    def listens(self) -> bool:
        """Whether the broker is there: events of cases are being read."""
        return self._consumer.consuming.is_set()

    def let_go(self) -> None:
        """End all waits: this process stops."""
        with self._lock:
            self.ending = True
            for told in list(self._waiting.values()):
                for tell in told:
                    tell(None)

    def stop(self) -> None:
        """Stop listening."""
        self._consumer.stop()

    def wait_for(self, ended: threading.Event, seconds: float, look: Callable[[], T]) -> T:
        """Block until a case has ended or the process stops, at most ``seconds``.

        :param ended: of :meth:`listening`
        :param look: says what is known, or asks the database; something true if the case has ended
        :returns: what the last look found
        """
        deadline = time.monotonic() + seconds
        looks = iter(LOOKS)
        pause = LOOKS[-1]
        while True:
            pause = next(looks, pause)
            remaining = deadline - time.monotonic()
            announced = ended.wait(max(0.0, min(pause, remaining)))
            found = look()
            if found or announced or remaining <= pause:
                return found

    def wait(self, case: str, seconds: float) -> bool:
        """Block for ``seconds`` or until a case ends; return whether its end was announced."""
        with self.listening(case) as ended:
            return ended.wait(seconds)

    @contextmanager
    def listening(self, *cases: str) -> Iterator[Ended]:
        """Lend an event that is set when the last of some cases ends or the process stops."""
        event = Ended()
        left = set(cases)

        def end(case: str, ending: Ending | None) -> None:
            if ending is not None:
                event.told[case] = ending
            left.discard(case)
            if not left:
                event.set()

        told = {case: functools.partial(end, case) for case in cases}
        with self._lock:
            for case, tell in told.items():
                self._waiting[case].add(tell)
            if self.ending:
                event.set()
        try:
            yield event
        finally:
            with self._lock:
                for case, tell in told.items():
                    self._waiting[case].discard(tell)
                    if not self._waiting[case]:
                        del self._waiting[case]

    def _wake(self, messages: list[Message]) -> None:
        with self._lock:
            for message in messages:
                if isinstance(message, CaseChanged):
                    for change in message.apart():
                        for tell in self._waiting.get(change.case, ()):
                            tell(change.ending)
