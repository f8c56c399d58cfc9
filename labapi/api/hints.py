"""Telling conductors that there is something to do, without making a request wait for it."""

from __future__ import annotations

import queue
import threading

from oslo_log import log

from labapi.exceptions import BrokerUnavailable
from labapi.rpc.client import Envelope, Publisher
from labapi.rpc.messages import Wake
from labapi.rpc.transport import CONDUCTOR, Transport

LOG = log.getLogger(__name__)

BACKLOG = 10_000


class Hints:
    """Sends hints from a thread of its own.

    What to do is in the database, and conductors look there by themselves every
    ``sweep_interval``: a hint only saves that time. So hints are sent without confirms, and are
    dropped while the broker is away.
    """

    def __init__(self, transport: Transport) -> None:
        self._publisher = Publisher(transport, confirm=False)
        self._waiting: queue.Queue[Wake | None] = queue.Queue(BACKLOG)
        self._thread = threading.Thread(target=self._run, name="hints", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Send what waits and end the thread."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(5)
        self._publisher.close()

    def case_waits(self, host: str) -> None:
        """Say that a case waits for this host."""
        self._send(Wake(hosts=[host]))

    def cancel_wanted(self, case: str) -> None:
        """Say that a running case is to be cancelled."""
        self._send(Wake(cancelled=[case]))

    def _send(self, hint: Wake) -> None:
        try:
            self._waiting.put_nowait(hint)
        except queue.Full:
            LOG.debug("a hint was dropped; conductors find the case when they sweep")

    def _run(self) -> None:
        away = False
        while (hint := self._waiting.get()) is not None:
            try:
                self._publisher.publish([Envelope(hint, CONDUCTOR)])
            except BrokerUnavailable as error:
                if not away:
                    LOG.warning("cases wait in the database: %s", error)
                away = True
            else:
                away = False
