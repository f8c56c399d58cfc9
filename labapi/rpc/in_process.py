"""The broker within one process: kombu's queues in memory, whose readers sleep until one is filled.

kombu looks into them again and again instead: rarely, and every message is late, or often, and the
processor is busy with nothing.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from queue import Empty
from typing import Any

from kombu.transport import memory

_LOCK = threading.Lock()
_READERS: defaultdict[str, set[threading.Event]] = defaultdict(set)  # by the queues' names


class _Channel(memory.Channel):  # type: ignore[misc]  # no type information
    def basic_consume(self, queue: str, *args: Any, **kwargs: Any) -> Any:
        """Read a queue."""
        with _LOCK:
            _READERS[queue].add(self.connection.filled)
        return super().basic_consume(queue, *args, **kwargs)

    def basic_cancel(self, consumer_tag: str) -> Any:
        """Read a queue no more."""
        with _LOCK:
            _READERS[self._tag_to_queue.get(consumer_tag, "")].discard(self.connection.filled)
        return super().basic_cancel(consumer_tag)

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        super()._put(queue, message, **kwargs)
        with _LOCK:
            for reader in _READERS[queue]:
                reader.set()


class Transport(memory.Transport):  # type: ignore[misc]
    """What ``memory://`` means here.

    :ivar filled: a message has come for one of this connection's consumers
    """

    Channel = _Channel

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.filled = threading.Event()
        self._woken = False

    def wake(self) -> None:
        """End the wait for a message, or the next one, as if its time were over."""
        self._woken = True
        self.filled.set()

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver one message, or wait for it.

        :raises TimeoutError: there is none within ``timeout`` seconds
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            self.filled.clear()  # before the look: what comes after it is seen by the wait
            try:
                self.cycle.get(self._deliver, timeout=timeout)
            except Empty:
                left = None if until is None else until - time.monotonic()
                over = self._woken or (left is not None and left <= 0)
                if over or not self.filled.wait(left):
                    self._woken = False
                    raise TimeoutError("no message") from None
            else:
                return
