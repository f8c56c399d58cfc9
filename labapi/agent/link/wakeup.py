"""Waking a thread that sleeps in poll(2)."""

from __future__ import annotations

import os
import threading


class Wakeup:
    """Is ready to be read once it is rung; for any thread."""

    def __init__(self) -> None:
        # Written once and read once for each time that it was rung: neither ever blocks.
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._rung = False

    def fileno(self) -> int:
        """Return what to poll."""
        return self._fd

    def ring(self) -> None:
        """Have it ready; does nothing once it is closed."""
        with self._lock:
            if not self._rung:
                self._rung = True
                os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        """Have it not ready; look afterwards for what there is to do."""
        with self._lock:
            if self._rung:
                self._rung = False
                os.eventfd_read(self._fd)

    def close(self) -> None:
        """Give the file descriptor back."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd, self._rung = -1, True
