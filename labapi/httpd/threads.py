"""cheroot's HTTP server as ``labapi-all`` needs it: strict, and with an end to every wait.

Threads serve here, so a client that sends slowly keeps one of them from everybody else.
"""

from __future__ import annotations

import io
import socket
import time
from typing import TYPE_CHECKING, Any

from cheroot import makefile, server, wsgi
from oslo_log import log

from labapi.httpd import head

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOG = log.getLogger(__name__)

BACKLOG = 1024  # clients that may connect at the same moment
MAX_HEAD = 64 * 1024  # bytes of a request's headers and first line


class Server(wsgi.Server):  # type: ignore[misc]  # no type information
    """Serves in threads; log lines go to the log.

    :param max_body: bytes of a body that are read
    :param keepalive: seconds that a client may be silent between requests
    :param receive_timeout: seconds that a request may take to arrive, from its first byte to the
        last one of its body
    """

    def __init__(
        self,
        address: tuple[str, int],
        app: WSGIApplication | None = None,
        *,
        threads: int,
        max_body: int,
        keepalive: float,
        receive_timeout: float,
        stop_timeout: float,
    ) -> None:
        super().__init__(
            address,
            app,
            numthreads=threads,
            request_queue_size=BACKLOG,
            timeout=keepalive,
            shutdown_timeout=stop_timeout,
        )
        self.receive_timeout = receive_timeout
        # By itself it reads headers, and each chunk of a body, into memory however large they are.
        # Up to the limit here a body is the sizelimit filter's to judge.
        self.max_request_header_size = MAX_HEAD
        self.max_request_body_size = max_body
        self.ConnectionClass = _Connection
        self._why: OSError | None = None

    def listen(self) -> None:
        """Bind the address; serve later.

        :raises OSError: it cannot be bound; the text says why
        """
        try:
            self.prepare()
        except OSError as error:
            why = (self._why or error).strerror or error
            host, port = self.bind_addr
            raise OSError(f"cannot listen on {host}:{port}: {why}") from error

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """Bind, and keep the system's own word on why not: cheroot wraps it."""
        try:
            return super().bind(*args, **kwargs)
        except OSError as error:
            self._why = error
            raise

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """Log a message of the server."""
        LOG.log(level, "%s", msg, exc_info=traceback)


class _Request(server.HTTPRequest):  # type: ignore[misc]
    rfile: Any

    def read_request_line(self) -> bool:
        """Read the whole head strictly before cheroot's own parser gets it."""
        self.started_request = True
        first = self.rfile.readline()
        if first == b"\r\n":  # RFC 9112, 2.2: one empty line before a request is overlooked
            first = self.rfile.readline()
        if not first:
            return False
        try:
            read = head.read(first, self.rfile.readline)
        except head.Refused as error:
            self.simple_response(error.status, f"{error}\n")
            return False
        self.rfile = io.BytesIO(read.raw)
        return bool(super().read_request_line())

    def read_request_headers(self) -> bool:
        """Let a connection end behind a chunked body: cheroot may leave a part of it unread."""
        going_on = bool(super().read_request_headers())
        if self.chunked_read:
            self.close_connection = True
        return going_on


class _Connection(server.HTTPConnection):  # type: ignore[misc]
    RequestHandlerClass = _Request

    def __init__(self, of: Server, sock: socket.socket, mf: Any = makefile.MakeFile) -> None:
        def files(sock: socket.socket, mode: str, size: int) -> Any:
            return _Reader(sock, size, of.timeout) if "r" in mode else mf(sock, mode, size)

        super().__init__(of, sock, files)

    def communicate(self) -> bool:
        """Serve one request, which has to arrive in time."""
        self.rfile.raw.until = time.monotonic() + self.server.receive_timeout
        return bool(super().communicate())


class _Reader(makefile.StreamReader):  # type: ignore[misc]
    def __init__(self, sock: socket.socket, size: int, timeout: float) -> None:
        super(makefile.StreamReader, self).__init__(_Input(sock, timeout), size)
        self.bytes_read = 0


class _Input(socket.SocketIO):
    """Reads from a socket until a point in time."""

    until = float("inf")

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        super().__init__(sock, "rb")
        self._of = sock
        self._timeout = timeout

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there, or wait for it as long as there is time."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._of.settimeout(min(left, self._timeout))
        try:
            return super().readinto(buffer)
        finally:
            self._of.settimeout(self._timeout)
