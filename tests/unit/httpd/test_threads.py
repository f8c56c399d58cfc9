"""``labapi-all``'s server: many clients at once, and clients that are slow."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from labapi.httpd.threads import Server

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "0")])
    return []


@pytest.fixture
def listening() -> Iterator[Callable[[float], Server]]:
    """Return a function that makes a server with two threads that listens and serves nobody yet.

    It takes the time that a request may take to arrive.
    """
    with ExitStack() as stack:

        def make(receive_timeout: float) -> Server:
            server = Server(
                ("127.0.0.1", 0),
                application,
                threads=2,
                max_body=1_000_000,
                keepalive=600,
                receive_timeout=receive_timeout,
                stop_timeout=1,
            )
            server.listen()
            stack.callback(server.stop)
            return server

        yield make


def serve(server: Server) -> None:
    threading.Thread(target=server.serve, daemon=True).start()


def test_two_hundred_clients_at_once(listening: Callable[[float], Server]) -> None:
    server = listening(60)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(server.bind_addr, 60)) for _ in range(200)
        ]
        for client in clients:
            client.sendall(GET)
        serve(server)
        assert all(client.recv(12) == b"HTTP/1.1 200" for client in clients)


def test_slow_bodies_do_not_hold_the_threads(listening: Callable[[float], Server]) -> None:
    server = listening(0.5)
    serve(server)

    def send_slowly(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client.sendall(b"x")
                time.sleep(0.05)

    with ExitStack() as stack:
        for _ in range(2):
            slow = stack.enter_context(socket.create_connection(server.bind_addr, 60))
            slow.sendall(POST)
            threading.Thread(target=send_slowly, args=(slow,), daemon=True).start()
        with socket.create_connection(server.bind_addr, 60) as client:
            client.sendall(GET)
            assert client.recv(12) == b"HTTP/1.1 200"


def test_a_connection_is_used_again(listening: Callable[[float], Server]) -> None:
    server = listening(0.5)
    serve(server)
    with socket.create_connection(server.bind_addr, 60) as client:
        for _ in range(3):
            client.sendall(GET)
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(0.6)  # the time is for a request, and not for the pause before it
