"""A load balancer that says who its client is: one port for each client address.

What connects to a door reaches the proxy server with a PROXY protocol line (version 1, as in
haproxy's description of it) that names the address the door stands for. So a test can be any
client, with curl, the ``swift`` program or anything else.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading

CHUNK = 65536
TIMEOUT = 180.0


class Door:
    """Stands for one client address in front of one proxy server.

    :param address: whom the proxy server sees
    :param port: of the proxy server, on loopback
    """

    def __init__(self, address: str, port: int) -> None:
        self._port = port
        family = "TCP6" if ipaddress.ip_address(address).version == 6 else "TCP4"
        server = "2001:db8::1" if family == "TCP6" else "192.0.2.1"
        self._line = f"PROXY {family} {address} {server} 40000 80\r\n".encode()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more clients."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._port), TIMEOUT)
        except OSError:
            client.close()
            return
        with client, server:
            client.settimeout(TIMEOUT)
            server.sendall(self._line)
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join(TIMEOUT)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
