"""One request and its answer, watched until the answer is over.

For filters that do something with every request when it is finished, given up, or has died.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Exchange:
    """Stands between server and application; it is the body that the server gets.

    :param finished: called once, with this, when the answer is over

    :ivar status: three digits; ``500`` for a request that died before it was answered
    :ivar sent: bytes of the body
    :ivar complete: whether the body came to its end
    :ivar died: whether an exception went through here
    """

    def __init__(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        finished: Callable[[Exchange], None],
    ) -> None:
        self.environ = environ
        self.status = "500"
        self.sent = 0
        self.complete = False
        self.died = False
        self._start_response = start_response
        self._finished: Callable[[Exchange], None] | None = finished
        self._began = time.monotonic()
        self._body: Iterable[bytes] = ()
        self._chunks: Iterator[bytes] | None = None

    @property
    def seconds(self) -> float:
        """Return how long it has taken so far."""
        return time.monotonic() - self._began

    def run(self, app: WSGIApplication) -> Exchange:
        """Send the request to the application, and return what the server is to iterate."""
        try:
            self._body = app(self.environ, self._start)
        except BaseException:
            self.died = True
            self._finish()
            raise
        return self

    def _start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        write = self._start_response(status, headers, exc_info)
        self.status = status[:3]

        def counting_write(data: bytes) -> None:
            write(data)
            self.sent += len(data)

        return counting_write

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._chunks is None:
                self._chunks = iter(self._body)
            chunk = next(self._chunks)
        except StopIteration:
            self.complete = True
            raise
        except BaseException:
            self.died = True
            raise
        self.sent += len(chunk)
        return chunk

    def close(self) -> None:
        """Close the application's body."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._finish()

    def _finish(self) -> None:
        finished, self._finished = self._finished, None
        if finished is not None:
            finished(self)
