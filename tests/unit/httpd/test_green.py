"""``labapi-api``'s server, in this process: its green threads need nothing to be patched."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import eventlet

    from labapi.httpd.green import Server


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


@pytest.fixture
def server() -> Iterator[tuple[Server, int, list[str]]]:
    """Return a server that is not started, its port, and the paths that it is asked for."""
    asked: list[str] = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        asked.append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Length", "0")])
        return []

    listener = eventlet.listen(("127.0.0.1", 0), backlog=16)
    server = Server(listener, application, connections=16, keepalive=60)
    yield server, listener.getsockname()[1], asked
    server.close()
    server.wait(60)


def test_a_busy_client_does_not_starve_the_others(server: tuple[Server, int, list[str]]) -> None:
    started, port, asked = server
    with (
        socket.create_connection(("127.0.0.1", port)) as busy,
        socket.create_connection(("127.0.0.1", port)) as modest,
    ):
        busy.sendall(500 * request("/busy"))
        modest.sendall(request("/modest"))
        started.start()
        with eventlet.Timeout(60):
            while len(asked) < 501:
                eventlet.sleep(0.01)
        assert "/modest" in asked[:250]


def test_connections_that_wait_to_be_taken_are_served_when_it_closes(
    server: tuple[Server, int, list[str]],
) -> None:
    stopped, port, asked = server
    stopped.start()
    with (
        socket.create_connection(("127.0.0.1", port)) as first,
        socket.create_connection(("127.0.0.1", port)) as second,
    ):
        first.sendall(request("/first"))
        second.sendall(request("/second"))
        stopped.close()
        stopped.wait(60)
        for client in (first, second):
            client.settimeout(60)
            answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"\r\nConnection: close\r\n" in answer
            assert client.recv(1) == b""
    assert sorted(asked) == ["/first", "/second"]
