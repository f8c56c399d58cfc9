"""The agent's one connection to the broker: it is read and sent on by one thread.

A broker pays for each connection and channel, and a lab has thousands of agents. So there is one
connection with two channels: over one come commands and control messages, over the other go
reports. Nobody but this thread touches them. It sleeps until the broker says something or until it
is woken, and nothing that it does waits for anybody: a command that cannot be taken now is given
back, confirms are read as they come.

RabbitMQ stops reading a connection that publishes while its memory or its disk is full. Commands
are then acknowledged late; there are no new ones, for conductors cannot publish either.
"""

from __future__ import annotations

import contextlib
import random
import select
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kombu import Connection
from kombu.exceptions import OperationalError

from labapi.agent.link.reading import Reading
from labapi.agent.link.reporter import Reporter
from labapi.agent.link.wakeup import Wakeup
from labapi.exceptions import Unavailable
from labapi.rpc.buffered import read_all
from labapi.rpc.frames import leave_bodies_alone
from labapi.rpc.outage import Contact
from labapi.rpc.sender import Sender
from labapi.rpc.transport import Transport

FIRST_PAUSE = 0.5  # seconds after the first failure; doubled up to [messaging] retry_interval_max
TICK = 5.0  # seconds between looks at the connection's heartbeat, if that is not more often


class Link(threading.Thread):
    """Reads the agent's queues and sends its reports until it is stopped.

    After an error it connects anew, for as long as it takes. Pauses are drawn at random, so that
    the agents of a lab do not come all at once when their broker is back.

    :param readings: in the order in which what has come is handed over
    """

    def __init__(
        self, transport: Transport, readings: Sequence[Reading], reporter: Reporter
    ) -> None:
        super().__init__(name="agent-link", daemon=True)
        self._transport = transport
        self._readings = readings
        self._reporter = reporter
        self._contact = Contact("agent", transport.address)
        self._stopping = threading.Event()
        self._wakeup = Wakeup()
        self._bell = self._wakeup.fileno()
        self._in_process = transport.in_process
        self._tick = min(TICK, transport.heartbeat / 4) if transport.heartbeat else TICK
        self._pause = 0.0
        self._proven = False
        self._connection: Connection | None = None
        self._channel: Any = None
        self._deadline: float | None = None  # for the confirms of the batch that is under way
        self._send_due = 0.0
        self._next_tick = 0.0

    def wake(self) -> None:
        """Have the thread look again what there is to do; from any thread."""
        self._wakeup.ring()
        connection = self._connection
        if self._in_process and connection is not None:
            connection.transport.wake()

    def stop_reading(self, reading: Reading, timeout: float) -> None:
        """Read a queue no more; wait so long for the end of the batch at hand."""
        reading.wanted = False
        self.wake()
        reading.idle.wait(timeout)

    def stop(self, timeout: float) -> bool:
        """Send what waits, for at most so many seconds; return whether all of it was.

        When it has begun to stop, it gives up at the first failure.
        """
        self._stopping.set()
        self.wake()
        self.join(timeout)
        return not self.is_alive() and not self._reporter.pending

    def run(self) -> None:
        """Keep a connection, for as long as it takes."""
        while not self._over:
            try:
                self._connection = self._transport.connect(heartbeat=True, guarded=True)
                self._serve(self._connection)
            except Exception as error:  # noqa: BLE001 - it is noted, and the lab goes on
                self._lose(error)
                if self._stopping.wait(self._pause):
                    break
        for reading in self._readings:
            reading.forget()
        if self._connection is not None:
            with contextlib.suppress(*self._connection.connection_errors):
                self._connection.release()
        self._wakeup.close()

    @property
    def _over(self) -> bool:
        return self._stopping.is_set() and not self._reporter.pending

    def _lose(self, error: Exception) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        self._contact.note(error, connection)
        self._deadline = None
        for reading in self._readings:
            reading.forget()
        self._reporter.put_back()
        if self._proven:  # it may have been this connection alone
            self._pause = random.uniform(0.0, FIRST_PAUSE)  # noqa: S311 (spreads the agents of a lab)
        else:
            self._reporter.away(self._transport.said(error))
            self._pause = self._longer(self._pause)
        self._proven = False
        if connection is not None:
            connection.collect(socket_timeout=self._transport.connect_timeout)

    def _longer(self, pause: float) -> float:
        pause = min(max(2 * pause, FIRST_PAUSE), self._transport.retry_interval_max)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 (spreads the agents of a lab)

    def _serve(self, connection: Connection) -> None:
        # The answer to the first announcement must find its queue there.
        self._transport.declare(connection, *(reading.queue for reading in self._readings))
        sender = Sender(
            connection.channel(),
            confirm=not self._in_process,
            timeout=self._transport.confirm_timeout,
        )
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if self._in_process:
            listen: Callable[[], None] = partial(self._listen_in_process, connection)
        else:
            poll.register(connection.connection.sock, select.POLLIN)
            listen = partial(self._listen, connection.connection, poll)
        while not self._over:
            if [reading for reading in self._readings if reading.wanted != reading.consumes]:
                self._begin_and_end(connection)
            self._speak(sender)
            listen()
            for reading in self._readings:
                try:
                    if reading.received:
                        reading.work_off(in_process=self._in_process)
                except Unavailable:
                    self._give_back(reading)
            if self._transport.heartbeat and time.monotonic() >= self._next_tick:
                connection.heartbeat_check()
                self._next_tick = time.monotonic() + self._tick

    def _begin_and_end(self, connection: Connection) -> None:
        """Begin to read what is to be read, and end what is not."""
        for reading in self._readings:
            if not reading.wanted and reading.consumes:
                self._give_back(reading)
            elif reading.may_begin():
                try:
                    reading.begin(self._reading_channel(connection))
                except connection.channel_errors as error:
                    self._contact.note(error)
                    self._close_reading()
                    return
        if all(reading.consumes for reading in self._readings if reading.wanted):
            self._contact.back()

    def _reading_channel(self, connection: Connection) -> Any:
        if self._channel is None:
            self._channel = connection.channel()
            leave_bodies_alone(self._channel)
        return self._channel

    def _close_reading(self) -> None:
        """Read again later: the broker has closed the channel, a queue of this host is gone."""
        channel, self._channel = self._channel, None
        for reading in self._readings:
            reading.forget()
            reading.due = time.monotonic() + self._longer(self._transport.retry_interval_max)
        channel.close()

    def _give_back(self, reading: Reading) -> None:
        """Read a queue no more for now, and give back what has come and is not acknowledged."""
        if self._in_process and reading.wanted:
            return  # it takes nothing back: what has come stays here
        reading.cancel()
        for other in self._readings:
            other.drop()
        self._channel.basic_recover(requeue=True)

    def _speak(self, sender: Sender) -> None:
        """Send a batch if none is under way; settle one that is confirmed."""
        while True:
            if self._deadline is not None:
                if sender.waits:
                    if time.monotonic() > self._deadline:
                        raise OperationalError("no confirm came in time")
                    return
                self._deadline = None
                if self._reporter.taken(sender.returned()):
                    self._proven, self._pause = True, 0.0
                else:
                    self._pause = self._longer(self._pause)
                    self._send_due = time.monotonic() + self._pause
            if not self._reporter.pending or time.monotonic() < self._send_due:
                return
            self._deadline = time.monotonic() + self._transport.confirm_timeout
            sender.send(self._reporter.batch())

    def _listen(self, wire: Any, poll: select.poll) -> None:
        """Sleep until something is to be done; take what has come."""
        if not wire.transport.has_frame:
            ready = poll.poll(self._rest() * 1000)
            self._wakeup.clear()
            if len(ready) == 1 and ready[0][0] == self._bell:
                return
        wire.read_all(self._enough)

    def _listen_in_process(self, connection: Connection) -> None:
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=self._rest())
        if not self._enough():
            read_all(connection, self._enough)

    def _enough(self) -> bool:
        """Say whether as much has come as is to be handed over at once."""
        return bool([reading for reading in self._readings if reading.full])

    def _rest(self) -> float:
        """Return for how many seconds there is nothing to do, unless it is woken."""
        if self._over:
            return 0.0  # what was waited for has just been sent
        now = time.monotonic()
        until = [now + self._tick]
        if self._deadline is not None:
            until.append(self._deadline)
        elif self._reporter.pending:
            until.append(self._send_due)
        for reading in self._readings:
            if reading.received or (reading.wanted and not reading.consumes):
                until.append(reading.due)
            elif not reading.wanted and reading.consumes:
                return 0.0
        return max(0.0, min(until) - now)
