"""A TCP proxy in front of a server, which can swallow what passes through it."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """Forwards connections from a free port of this machine to a server.

    :ivar port: where it listens
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """Be a black hole: take every connection and every byte, and give nothing on."""
        self._open.clear()

    def forward(self) -> None:
        """Serve again; connections that lost bytes are cut."""
        self._cut()
        self._open.set()

    def close(self) -> None:
        """Cut everything and listen no more."""
        self._listener.close()
        self._cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                if not self._open.is_set():
                    continue
                server = socket.create_connection(self._server)
                self._sockets.append(server)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._forward, args=(source, target), daemon=True
                    ).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._open.is_set():
                    target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _cut(self) -> None:
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._sockets.clear()
