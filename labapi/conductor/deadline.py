"""Ending a conversation at a time, however slowly its other end goes on.

The timeout of a socket begins anew with each byte.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def shut_at(until: float, current: Callable[[], socket.socket | None]) -> Iterator[None]:
    """Shut a connection at a time, so that whoever waits for it gets an error.

    :param until: monotonic time
    :param current: returns the socket as it is then, for TLS puts another one in its place
    """

    def shut() -> None:
        sock = current()
        if sock is not None:
            with suppress(OSError):
                # SSLSocket's own would take the state away from whoever reads at this moment.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, until - time.monotonic()), shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
