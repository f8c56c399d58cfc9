"""The time until a program is ready: waiting for its servers, and telling systemd."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

from oslo_log import log

from labapi.exceptions import Unavailable

LOG = log.getLogger(__name__)

PAUSE = 1.0  # seconds between two tries
REPEAT = 60.0  # seconds between two log lines on the same wait


def tell_systemd(state: str) -> None:
    """Send a line such as ``READY=1`` to systemd, if it wants to know (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a name without a file
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        try:
            manager.sendto(state.encode(), address)
        except OSError as error:
            LOG.warning("cannot tell systemd %s: %s", state, error)


def wait_for(there: Callable[[], bool | None], stop: threading.Event) -> bool:
    """Try until a server is there, and say that it is not: at once, and every minute.

    :param there: raises :class:`~labapi.exceptions.Unavailable` while it is not; returns False if
        it is about to be there
    :param stop: ends the wait
    :returns: whether it is there
    """
    said: float | None = None
    while not stop.is_set():
        try:
            if there() is not False:
                return True
        except Unavailable as error:
            if said is None or time.monotonic() - said >= REPEAT:
                LOG.warning("waiting: %s", error)
                tell_systemd(f"STATUS=waiting: {error}")
                said = time.monotonic()
        stop.wait(PAUSE)
    return False
