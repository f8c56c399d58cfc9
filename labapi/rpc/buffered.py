"""py-amqp with fewer system calls: frames are cut out of what has come, and nothing is asked twice.

As it is, py-amqp asks the socket for the seven bytes of a frame's head, for its payload, and for
its last byte, sets and resets the socket's timeout each time, and looks before each message that it
sends whether the broker is about to stop reading. To send a message and have it confirmed takes 15
system calls that way and 3 this way; to send, read and acknowledge one 43 and 8.
"""

from __future__ import annotations

import _socket
import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from amqp.exceptions import UnexpectedFrame
from amqp.transport import SSLTransport, TCPTransport
from kombu import Connection
from kombu.transport import pyamqp

# Bytes that are asked for at once. A TLS record is no larger: nothing is left of one where poll(2)
# does not see it.
READ = 16 * 1024
FRAME_END = 0xCE

_HEAD = struct.Struct(">BHI")  # of a frame: type, channel, size of the payload

Frame = tuple[int, int, bytes]


class _Buffered:
    """What has come over a connection and is not read yet; mixed into py-amqp's transports."""

    sock: socket.socket
    connected: bool
    having_timeout: Any
    _read_buffer: Any

    def next_frame(self, timeout: float | None) -> Frame:
        """Return the next frame.

        :param timeout: seconds to wait for it; None for ever
        :raises TimeoutError: it is not here in time; what has come of it is kept
        :raises OSError: the connection is lost
        """
        until = None if timeout is None else time.monotonic() + timeout
        while (frame := self._cut()) is None:
            self._take_in(timeout)
            if until is not None:
                timeout = max(0.0, until - time.monotonic())
        return frame

    def hand_out(self, take: Callable[[Frame], bool], enough: Callable[[], bool]) -> None:
        """Hand out the frames that have come, without waiting for others.

        :param take: returns whether a message is complete
        :param enough: asked after each message; True leaves the rest for later
        :raises OSError: the connection is lost
        """
        more = True
        while True:
            if (frame := self._cut()) is not None:
                if take(frame) and enough():
                    return
            elif more:
                more = self._fill()
            else:
                return

    @property
    def has_frame(self) -> bool:
        """Whether a frame has come that is not read yet: poll(2) does not tell."""
        data = self._read_buffer
        return len(data) >= _HEAD.size and len(data) > _HEAD.size + _HEAD.unpack_from(data)[2]

    def _cut(self) -> Frame | None:
        """Return the first frame of what was taken in, None if it is not whole."""
        data = self._read_buffer
        if len(data) < _HEAD.size:
            return None
        kind, channel, size = _HEAD.unpack_from(data)
        end = _HEAD.size + size
        if end >= len(data):
            return None
        if data[end] != FRAME_END:
            raise UnexpectedFrame(f"a frame ends with {data[end]:#04x} instead of 0xce")
        self._read_buffer = data[end + 1 :]
        return kind, channel, data[_HEAD.size : end]

    def _fill(self) -> bool:
        """Take in what has come, without waiting; say whether there may be more of it."""
        try:
            return self._take_in(0) == READ
        except TimeoutError:
            return False

    def _take_in(self, timeout: float | None) -> int:
        try:
            data = self._receive(timeout)
        except TimeoutError:
            raise
        except OSError:
            self.connected = False
            raise
        if not data:
            self.connected = False
            raise OSError("Server unexpectedly closed connection")
        self._read_buffer = self._read_buffer + data if self._read_buffer else data
        return len(data)

    def _receive(self, timeout: float | None) -> bytes:
        with self.having_timeout(timeout):
            return self.sock.recv(READ)


class _TCP(_Buffered, TCPTransport):  # type: ignore[misc]  # no type information
    def _receive(self, timeout: float | None) -> bytes:
        if not self._plain:
            return super()._receive(timeout)
        if timeout != 0:
            poll = select.poll()
            poll.register(self.sock, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000):
                raise TimeoutError
        try:
            return self.sock.recv(READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            raise TimeoutError from None

    def having_timeout(self, timeout: float | None) -> AbstractContextManager[Any]:
        """Have reads and writes take no longer than this; those of the kernel's sockets do not."""
        if self._plain and self.connected:
            return contextlib.nullcontext(self.sock)
        way: AbstractContextManager[Any] = super().having_timeout(timeout)
        return way

    @property
    def _plain(self) -> bool:
        """Whether the kernel keeps the time of writes (``write_timeout``); eventlet's do not."""
        return isinstance(self.sock, _socket.socket) and self.write_timeout is not None


class _TLS(_Buffered, SSLTransport):  # type: ignore[misc]  # no type information
    pass


class _Connection(pyamqp.Connection):  # type: ignore[misc]  # no type information
    # Nobody here wants to know that the broker stops reading; its confirms are late then.
    negotiate_capabilities: ClassVar[dict[str, bool]] = {
        **pyamqp.Connection.negotiate_capabilities,
        "connection.blocked": False,
    }

    def Transport(  # noqa: N802 (py-amqp's name)
        self,
        host: str,
        connect_timeout: float,
        ssl: Any = False,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        **more: Any,
    ) -> Any:
        """Return the way to a broker."""
        more |= {"read_timeout": read_timeout, "write_timeout": write_timeout}
        if ssl:
            return _TLS(host, connect_timeout, ssl=ssl, **more)
        return _TCP(host, connect_timeout, **more)

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Read one frame and deal with it.

        :raises TimeoutError: there is none in time
        """
        return self.on_inbound_frame(self.transport.next_frame(timeout))

    def read_all(self, enough: Callable[[], bool]) -> None:
        """Deal with what has come, without waiting for more.

        :param enough: asked after each message; True leaves the rest for later
        """
        self.transport.hand_out(self.on_inbound_frame, enough)


def read_all(connection: Connection, enough: Callable[[], bool]) -> None:
    """Deal with what has come over kombu's connection, without waiting for more.

    :param enough: as of :meth:`_Connection.read_all`
    """
    wire = connection.connection
    if isinstance(wire, _Connection):
        wire.read_all(enough)
        return
    with contextlib.suppress(TimeoutError):
        while not enough():
            connection.drain_events(timeout=0)


class AMQP(pyamqp.Transport):  # type: ignore[misc]  # no type information
    """kombu's transport for ``amqp://``."""

    Connection = _Connection


class AMQPS(pyamqp.SSLTransport):  # type: ignore[misc]  # no type information
    """kombu's transport for ``amqps://``."""

    Connection = _Connection
