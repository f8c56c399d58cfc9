"""eventlet's HTTP server as ``labapi-api`` needs it: fair, strict, and polite when it stops.

eventlet's own loop answers one connection for as long as its next request has arrived already,
reads heads with a parser made for mail, and stops listening only when the last request is answered.
Here a connection steps back after each answer, :mod:`labapi.httpd.head` reads the heads, and the
listener closes first.
"""

from __future__ import annotations

import errno
import logging
import socket
from http.client import HTTPMessage
from typing import TYPE_CHECKING, Any

import eventlet
import eventlet.wsgi
from eventlet.greenio import shutdown_safe

from labapi.httpd import head

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOG = logging.getLogger("eventlet.wsgi.server")

BACKLOG = 1024  # connections that wait to be taken
ACCEPT_PAUSE = 0.0005  # seconds between two times that one worker takes connections
TOGETHER = 16  # connections that it takes at one time, at most, beside the first
NO_MORE_FILES = 1.0  # seconds to wait when there is no descriptor for another connection


class Server:
    """Serves the connections of one listener in green threads.

    :param listener: a green socket that listens; other processes may listen on it as well
    :param connections: the most at the same time; the others wait
    :param keepalive: seconds that a client may be silent
    """

    def __init__(
        self, listener: Any, app: WSGIApplication, *, connections: int, keepalive: float
    ) -> None:
        self._listener = listener
        self._pool = eventlet.GreenPool(connections)
        self._open: dict[int, list[Any]] = {}
        self._http = _Http(
            listener,
            listener.getsockname(),
            app,
            log=LOG,
            protocol=_Protocol,
            socket_timeout=keepalive,
            log_output=False,
            debug=False,  # a traceback is for the log, not for the client
            capitalize_response_headers=False,  # their names are as they should be
        )

    def start(self) -> None:
        """Begin to take connections; returns at once."""
        self._accepting = eventlet.spawn(self._accept)

    def close(self) -> None:
        """Take no more connections, and no more requests of those that have none under way."""
        self._accepting.kill()
        self._take(BACKLOG)  # closing the listener would reset them
        self._listener.close()
        self._http.stopping = True
        for _, client, state in list(self._open.values()):
            if state == eventlet.wsgi.STATE_IDLE and not _has_sent(client):
                shutdown_safe(client)

    def wait(self, seconds: float) -> None:
        """Wait until all requests are answered, at most ``seconds``."""
        with eventlet.Timeout(seconds, False):
            self._pool.waitall()

    def _accept(self) -> None:
        while True:
            try:
                client, address = self._listener.accept()
            except OSError as error:
                if error.errno not in (errno.ECONNABORTED, errno.EPROTO):  # its client is gone
                    LOG.warning("cannot take a connection: %s", error)
                    eventlet.sleep(NO_MORE_FILES)
                continue
            self._serve(client, address)
            # The longer a worker's round, the more it takes in one: new clients would wait for as
            # many rounds as there are clients before them.
            self._take(min(len(self._open) // 2, TOGETHER))
            # The worker that wakes first would take all that come at the same moment, and keep
            # them for as long as their clients do.
            eventlet.sleep(ACCEPT_PAUSE)

    def _take(self, most: int) -> None:
        """Take connections that clients have opened already."""
        for _ in range(most):
            try:
                client, address = self._listener.fd.accept()
            except OSError:
                return
            self._serve(eventlet.greenio.GreenSocket(client), address)

    def _serve(self, client: Any, address: Any) -> None:
        client.settimeout(self._http.socket_timeout)
        # Not idle: its first request is on its way.
        connection = [address, client, eventlet.wsgi.STATE_REQUEST]
        self._open[id(connection)] = connection
        self._pool.spawn(self._process, connection)

    def _process(self, connection: list[Any]) -> None:
        try:
            self._http.process_request(connection)
        finally:
            del self._open[id(connection)]


def _has_sent(client: Any) -> bool:
    """Say whether something of a client's next request is here already."""
    try:
        return bool(client.fd.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


class _Http(eventlet.wsgi.Server):  # type: ignore[misc]  # no type information
    stopping = False


class _Protocol(eventlet.wsgi.HttpProtocol):  # type: ignore[misc]
    """One connection."""

    _last = False

    @property
    def close_connection(self) -> bool:
        """Whether the connection ends with this request, and the answer says so."""
        return self._last or self.server.stopping

    @close_connection.setter
    def close_connection(self, value: bool) -> None:
        self._last = bool(value)

    def handle(self) -> None:
        """Answer requests until the connection ends, one at each turn."""
        while True:
            self._last = True  # until a request says otherwise
            self.handle_one_request()
            if self.close_connection:
                return
            self.conn_state[2] = eventlet.wsgi.STATE_IDLE
            # Reading does not give way while there is something to read.
            eventlet.sleep(0)

    def parse_request(self) -> bool:
        """Read a head; answer it if it cannot be handed on."""
        try:
            self._take(head.read(self.raw_requestline, self.rfile.readline))
        except head.Refused as error:
            self._refuse(error)
            return False
        return True

    def _read_request_line(self) -> Any:
        line = super()._read_request_line()
        # RFC 9112, 2.2: one empty line before a request is overlooked.
        return super()._read_request_line() if line == b"\r\n" else line

    def _take(self, read: head.Head) -> None:
        self.requestline = read.raw.partition(b"\r\n")[0].decode("ascii")
        self.command, self.request_version = read.method, read.version
        # Programs that resolve a path with two slashes at its beginning take it for a host.
        path = read.target
        self.path = "/" + path.lstrip("/") if path.startswith("//") else path
        self.headers = HTTPMessage()
        for name, value in read.fields:
            self.headers[name] = value
        wishes = {word.strip().lower() for v in read.values("connection") for word in v.split(",")}
        keeps = read.version == "HTTP/1.1" or "keep-alive" in wishes
        self.close_connection = not keeps or "close" in wishes

    def _refuse(self, error: head.Refused) -> None:
        text = f"{error}\n".encode()
        self.wfile.write(
            b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Type: text/plain\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (error.status.encode(), len(text), text)
        )
        self.close_connection = True

    def get_environ(self) -> dict[str, Any]:
        """Return the environ, with a body whose chunks are read as strictly as the head."""
        environ: dict[str, Any] = super().get_environ()
        body = environ["wsgi.input"]
        if body.chunked_input:
            body.rfile = _Chunks(body.rfile)
        return environ


class _Chunks:
    """The lines and data of a chunked body, for eventlet's reader, which overlooks much."""

    def __init__(self, rfile: Any) -> None:
        self._rfile = rfile
        self._left = -1  # bytes of the chunk that is being read; -1 between two chunks
        self._last = False  # what follows are trailers
        self._broken = False

    def read(self, size: int) -> bytes:
        """Read data of a chunk."""
        data: bytes = self._rfile.read(size)
        self._left -= len(data)
        return data

    def readline(self, size: int | None = None) -> bytes:
        """Read data of a chunk up to a newline, or, without ``size``, the line around it."""
        if size is not None:
            line: bytes = self._rfile.readline(size)
            self._left -= len(line)
            return line
        # What is broken stays so: nothing behind it is taken for another chunk or request.
        line = b"" if self._broken else self._rfile.readline(head.MAX_CHUNK_LINE)
        self._broken = True
        if self._last:
            if line != b"\r\n" and not head.FIELD.fullmatch(line):
                raise eventlet.wsgi.ChunkReadError("not a trailer")
        elif self._left == 0:
            if line != b"\r\n":
                raise eventlet.wsgi.ChunkReadError("a chunk is longer than it says")
            self._left = -1
        else:
            found = head.CHUNK_SIZE.fullmatch(line)
            if found is None:
                raise eventlet.wsgi.ChunkReadError("not the size of a chunk")
            self._left = int(found[1], 16)
            self._last = self._left == 0
        self._broken = False
        return line
