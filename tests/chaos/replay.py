"""Says again to agents, late, what conductors have told them."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections import deque
from typing import Any

import kombu

from labapi.rpc.transport import BROKER_ERRORS, EXCHANGE

KEPT = 200


class Recorder(threading.Thread):
    """Reads along what goes to the agents, and sends it again when asked, signature and all."""

    def __init__(self, url: str) -> None:
        super().__init__(name="recorder", daemon=True)
        self._url = url
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._heard: deque[Any] = deque(maxlen=KEPT)

    def stop(self) -> None:
        """Stop listening."""
        self._stopping.set()
        self.join(60)

    def run(self) -> None:
        """Listen until stopped, whatever happens to the broker."""
        while not self._stopping.is_set():
            with contextlib.suppress(*BROKER_ERRORS), self._connected() as connection:
                self._listen(connection)
            self._stopping.wait(0.5)

    def replay(self, chooser: random.Random, count: int) -> int:
        """Send some commands again, oldest first; return how many."""
        with self._lock:
            heard = list(self._heard)
        chosen = [message for message in heard if chooser.random() < count / max(len(heard), 1)]
        with contextlib.suppress(*BROKER_ERRORS), self._connected() as connection:
            with connection.channel() as channel:
                producer = kombu.Producer(channel, auto_declare=False)
                for body, headers, key in chosen:
                    producer.publish(
                        body,
                        exchange=EXCHANGE.name,
                        routing_key=key,
                        headers=headers,
                        content_type="application/json",
                        content_encoding="utf-8",
                    )
            return len(chosen)
        return 0

    def _connected(self) -> kombu.Connection:
        return kombu.Connection(self._url, connect_timeout=5, heartbeat=0)

    def _listen(self, connection: kombu.Connection) -> None:
        with connection.channel() as channel:
            exchange = EXCHANGE(channel)
            exchange.declare()
            queues = [
                kombu.Queue("", exchange, f"{kind}.#", exclusive=True, auto_delete=True)
                for kind in ("agent", "control")
            ]
            with kombu.Consumer(channel, queues, on_message=self._keep, no_ack=True):
                while not self._stopping.is_set():
                    with contextlib.suppress(socket.timeout):
                        connection.drain_events(timeout=1)

    def _keep(self, message: Any) -> None:
        body = message.body
        key = message.delivery_info["routing_key"]
        with self._lock:
            self._heard.append((body, dict(message.headers), key))
