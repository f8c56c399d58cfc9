"""Sending: a publisher with a connection of its own that waits for the broker's confirms."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec
from kombu import Connection, Queue

from labapi.case import State
from labapi.exceptions import BrokerUnavailable
from labapi.rpc.messages import CaseChanged, Change
from labapi.rpc.sender import Envelope, Sender
from labapi.rpc.signing import Signer
from labapi.rpc.transport import BROKER_ERRORS, EVENTS, Transport

__all__ = ["Envelope", "Publisher", "announcements", "event"]


# Changes that one message announces. Readers look twice at one with more than MAX_DEPTH brackets.
TOGETHER = 50


def event(change: CaseChanged) -> Envelope:
    """Return the announcement of a change of state."""
    return Envelope(change, f"testcase.{change.state}", exchange=EVENTS.name)


def announcements(changes: Iterable[CaseChanged]) -> list[Envelope]:
    """Return the announcements of changes of state; those to one state go together."""
    by_state: defaultdict[State, list[CaseChanged]] = defaultdict(list)
    for change in changes:
        by_state[change.state].append(change)
    return [
        event(_together(same[start : start + TOGETHER]))
        for same in by_state.values()
        for start in range(0, len(same), TOGETHER)
    ]


def _together(changes: Sequence[CaseChanged]) -> CaseChanged:
    first, *others = changes
    if not others:
        return first
    more = [Change(case=one.case, result=one.result, ending=one.ending) for one in others]
    return msgspec.structs.replace(first, more=more)


class Publisher:
    """Sends messages; safe to use from several threads, one batch at a time.

    Reports outlive a restart of the broker; what is repeated anyway does not reach its disk.

    :param transport: how to reach the broker
    :param confirm: False to send without waiting for confirms, for what may be lost
    :param signer: signs commands
    :ivar signer: may be replaced at any time
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
        self.signer = signer
        self._confirm = confirm and not transport.in_process
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._away = False

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
                    raise self._unavailable(error) from error
            try:
                return self._send(envelopes)
            except BROKER_ERRORS as error:
                self._drop()
                raise self._unavailable(error) from error

    def close(self) -> None:
        """Close the connection; a later ``publish`` opens a new one."""
        with self._lock:
            self._drop()

    def _send(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        connection = self._connection or self._open()
        sender, timeout = self._sender, self._transport.confirm_timeout
        sender.send(envelopes, self.signer)
        deadline = time.monotonic() + timeout
        while sender.waits:
            connection.drain_events(timeout=max(deadline - time.monotonic(), 0.001))
        self._away = False
        return sender.returned()

    def _unavailable(self, error: BaseException) -> BrokerUnavailable:
        repeated, self._away = self._away, True
        return BrokerUnavailable(self._transport.said(error), repeated=repeated)

    def _open(self) -> Connection:
        connection = self._transport.connect(heartbeat=False)
        self._transport.declare(connection, *self._queues)
        timeout = self._transport.confirm_timeout
        self._sender = Sender(connection.channel(), confirm=self._confirm, timeout=timeout)
        self._connection = connection
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect(socket_timeout=self._transport.connect_timeout)
