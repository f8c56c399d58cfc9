"""A TCP proxy that loses connections, is slow, or swallows all that it is given."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

LOOK = 0.2  # seconds between looks whether it still flows


class Proxy:
    """Stands on ``port`` before a server on ``target``, both on loopback.

    :ivar name: for the record
    :ivar broken: connections that ``cut_after`` has broken
    """

    def __init__(self, target: int, name: str = "proxy") -> None:
        self.name = name
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._flows = threading.Event()
        self._flows.set()
        self._delay = 0.0
        self._allowed: int | None = None
        self.broken = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, name=name, daemon=True).start()

    def cut(self) -> None:
        """Break all connections, in the middle of whatever is said."""
        with self._lock:
            sockets, self._open = self._open, set()
        for one in sockets:
            _break(one)

    def cut_after(self, size: int | None) -> None:
        """Break each connection once the server has said so many bytes on it; None for none."""
        self._allowed = size

    def delay(self, seconds: float) -> None:
        """Hold up whatever is said by so many seconds; 0 for none."""
        self._delay = seconds

    def swallow(self) -> None:
        """Take connections and bytes, and pass nothing on until ``flow``."""
        self._flows.clear()

    def flow(self) -> None:
        """Pass on again what comes over new connections; those that there are break."""
        self.cut()
        self._flows.set()

    def close(self) -> None:
        """Take no connections any more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or the last accept would take one more
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            with self._lock:
                self._open.add(client)
            try:
                server = socket.create_connection(("127.0.0.1", self._target), 60)
            except OSError:
                return
            with server:
                with self._lock:
                    self._open.add(server)
                with contextlib.suppress(OSError, ValueError):
                    self._pump(client, server)
            with self._lock:
                self._open -= {client, server}

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        said = 0
        while True:
            readable, _, _ = select.select(list(other), [], [], LOOK)
            if not self._flows.is_set():
                time.sleep(LOOK)
                continue
            for one in readable:
                data = one.recv(65536)
                if not data:
                    return
                if self._delay:
                    time.sleep(self._delay)
                allowed = self._allowed
                if one is client or allowed is None:
                    allowed = said + len(data)
                other[one].sendall(data[: max(0, allowed - said)])
                said += len(data) if one is server else 0
                if said > allowed:
                    self.broken += 1
                    _break(client)
                    return


def _break(one: socket.socket) -> None:
    """End a connection with a reset."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.shutdown(socket.SHUT_RDWR)
