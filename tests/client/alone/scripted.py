"""A server that answers as a test says: what a real lab does seldom, or a hostile one does."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 128 * 1024  # bytes of a request's body that are read at a time


@dataclass(frozen=True)
class Say:
    """One answer.

    :ivar body: JSON, or bytes as they are
    :ivar broken: the connection ends in the middle of the body
    :ivar drips: seconds before each byte of the body
    :ivar slow_head: seconds before each byte of a head that has no end
    """

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    broken: bool = False
    drips: float = 0.0
    slow_head: float = 0.0


def fault(code: int, name: str = "", message: str = "no", **headers: str) -> Say:
    """Return a fault of the API, or what a proxy says if it has no name."""
    body = {name: {"code": code, "message": message, "request_id": "req-1"}} if name else "<html>"
    return Say(code, body, {key.replace("_", "-"): value for key, value in headers.items()})


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Scripted:
    """Listens on loopback, and gives one answer after the other; the last one again and again.

    :param pace: seconds before each piece of a request's body is read
    :ivar asked: the requests that came
    """

    def __init__(self, *answers: Say, tls: ssl.SSLContext | None = None, pace: float = 0.0) -> None:
        self.asked: list[Asked] = []
        self._answers = list(answers)
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = b""
                while missing := int(self.headers.get("Content-Length", 0)) - len(body):
                    time.sleep(pace)
                    body += self.rfile.read(min(missing, PIECE))
                script.asked.append(Asked(self.command, self.path, dict(self.headers), body))
                say = script._answers[0]
                if len(script._answers) > 1:
                    del script._answers[0]
                if say.slow_head:
                    self.drip(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000, say.slow_head)
                as_is = isinstance(say.body, bytes)
                data = say.body if as_is else json.dumps(say.body).encode()
                self.send_response(say.status)
                self.send_header("Content-Length", str(len(data) + (7 if say.broken else 0)))
                for name, value in say.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.drip(data, say.drips) if say.drips else self.wfile.write(data)
                self.close_connection = say.broken

            def drip(self, data: bytes, pause: float) -> None:
                with suppress(OSError):  # the client has gone
                    for byte in data:
                        time.sleep(pause)
                        self.wfile.write(bytes([byte]))

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
