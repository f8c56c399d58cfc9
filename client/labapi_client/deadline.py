"""How long an answer may take from the first byte of its head to the last one of its body.

A timeout of a socket begins anew with each byte: it says nothing of a server that sends one every
few seconds. Here each read gets what is left of the time of the whole answer.
"""

from __future__ import annotations

import http.client
import io
import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Deadline:
    """When an answer has to be complete.

    :param seconds: from now on
    """

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left; none or fewer if it has passed."""
        return self._until - time.monotonic()

    def lift(self) -> None:
        """Let the rest of the answer take as long as it takes."""
        self._until = math.inf


# Between a request and its connection stands the pool, which hands nothing of ours down.
_DEADLINE: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[Deadline]:
    """Set the deadline of the answers that begin in this thread meanwhile.

    It holds for the rest of their bodies, too, whenever that is read.
    """
    deadline = Deadline(seconds)
    token = _DEADLINE.set(deadline)
    try:
        yield deadline
    finally:
        _DEADLINE.reset(token)


def bind(pools: urllib3.PoolManager) -> None:
    """Have the connections of these pools keep to deadlines."""
    pools.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}


class _Reader(io.RawIOBase):
    """Reads a socket, no longer than its own timeout nor than the deadline."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: Deadline) -> None:
        self._raw = raw
        self._socket = sock
        self._silence = sock.gettimeout()
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        left = self._deadline.left
        if left <= 0:
            raise TimeoutError("the answer was not complete in time")
        self._socket.settimeout(min(math.inf if self._silence is None else self._silence, left))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        deadline = _DEADLINE.get()
        if deadline is not None:
            self.fp = io.BufferedReader(_Reader(self.fp.detach(), sock, deadline))


class _Connection(HTTPConnection):
    response_class = _Response


class _TLSConnection(HTTPSConnection):
    response_class = _Response


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection
