"""A link to a server that can become a black hole."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

READ = 65536


class Link:
    """Forwards TCP connections to a server on this machine.

    :param port: of the server
    :ivar port: where the link listens
    """

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._dark = threading.Event()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, name="link", daemon=True).start()

    def darken(self) -> None:
        """Swallow all that is sent from now on, in both directions, without a word."""
        self._dark.set()

    def restore(self) -> None:
        """Let new connections through; those that were swallowed from are reset."""
        self._hang_up()
        self._dark.clear()

    def close(self) -> None:
        """Close the link and its connections."""
        self._listener.close()
        self._hang_up()

    def _hang_up(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
            except OSError:
                return
            self._sockets += [client, server]
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(READ)  # type: ignore[union-attr]
                    if not data:
                        return
                    if not self._dark.is_set():
                        key.data.sendall(data)
