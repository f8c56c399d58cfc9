"""What a case writes: kept up to a limit, counted beyond it, handed on in pieces."""

from __future__ import annotations

import threading

PIECE = 65536  # bytes, the largest piece that travels in one message


class OutputBuffer:
    """The output of one attempt that has not been handed on yet.

    :param limit: bytes of the whole output that are kept; what comes later is only counted
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._pending = bytearray()
        self._offset = 0
        self._closed = False
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add to the end; ignored once the buffer is closed."""
        with self._lock:
            if self._closed:
                return
            room = self._limit - self._offset - len(self._pending)
            self.size += len(data)
            if room > 0:
                self._pending += data[:room]

    def take(self) -> tuple[int, bytes] | None:
        """Remove and return the next piece with its offset in bytes, None if there is none."""
        with self._lock:
            if not self._pending:
                return None
            piece = bytes(self._pending[:PIECE])
            del self._pending[:PIECE]
            offset = self._offset
            self._offset += len(piece)
            return offset, piece

    def close(self) -> list[tuple[int, bytes]]:
        """Take no more; return all that is left, as pieces with their offsets.

        There is always a last piece, which may be empty: it tells where the output ends.
        """
        with self._lock:
            self._closed = True
            rest, start = bytes(self._pending), self._offset
            self._pending.clear()
            self._offset += len(rest)
        pieces = [(start + at, rest[at : at + PIECE]) for at in range(0, len(rest), PIECE)]
        return pieces or [(start, b"")]
