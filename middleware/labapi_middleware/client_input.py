"""The request body with something around its reading.

Filters that watch what is read from ``wsgi.input`` share the four methods that PEP 3333 has for
it, and hand everything else on to the server's own object.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class ClientInput:
    """Wrap ``wsgi.input``; a subclass overrides :meth:`_read`.

    :param wrapped: the server's input stream
    """

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def _read(self, method: str, size: int) -> bytes:
        """Read with the server's ``read`` or ``readline``; ``size`` -1 is without a limit."""
        read = getattr(self._wrapped, method)
        # Not every server takes -1 or None, but every one takes no argument.
        data: bytes = read() if size < 0 else read(size)
        return data

    def read(self, size: int | None = -1) -> bytes:
        """Read up to ``size`` bytes."""
        return self._read("read", -1 if size is None else size)

    def readline(self, size: int | None = -1) -> bytes:
        """Read one line, or up to ``size`` bytes of it."""
        return self._read("readline", -1 if size is None else size)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Read lines until ``hint`` bytes are there, or all of them."""
        lines: list[bytes] = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def __getattr__(self, name: str) -> Any:
        # Servers offer more than PEP 3333 has; Swift, for one, asks eventlet's for 100-continue.
        return getattr(self._wrapped, name)


def has_body(environ: dict[str, Any]) -> bool:
    """Say whether the request comes with a body, as far as its headers tell."""
    return environ.get("CONTENT_LENGTH") not in (None, "", "0") or (
        "HTTP_TRANSFER_ENCODING" in environ
    )
