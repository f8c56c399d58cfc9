"""A mail server and a webhook that fail, hang and come back when a test says so."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from tests.processes import TIMEOUT, free_port


class Issuer:
    """Whoever issues the certificates of servers on this machine.

    :ivar file: its own certificate
    """

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._ca.cert_pem.bytes())

    def server(self, *names: str) -> ssl.SSLContext:
        """Return what a server of these names shows."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(*names).configure_cert(context)
        return context


class MailServer:
    """An SMTP server on 127.0.0.1.

    :param password: it wants one, and takes any
    :param options: of aiosmtpd's Controller
    :ivar answers: what it answers to the next mails instead of taking them
    :ivar logins: the passwords that it was given
    """

    def __init__(self, port: int | None = None, *, password: bool = False, **options: Any) -> None:
        self.port = port or free_port()
        self.answers: list[str] = []
        self.logins: list[bytes] = []
        self.taken: list[EmailMessage] = []
        if password:
            options |= {"authenticator": self._login, "auth_required": True}
        # The default gives it five seconds to start.
        options.setdefault("ready_timeout", TIMEOUT)
        self._controller = Controller(self, "127.0.0.1", self.port, **options)

    def __enter__(self) -> MailServer:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if self.answers:
            return self.answers.pop(0)
        message = BytesParser(policy=default).parsebytes(envelope.content)
        self.taken.append(message)
        return "250 taken"

    def _login(self, _server: Any, _session: Any, _envelope: Any, _how: str, data: Any) -> Any:
        self.logins.append(data.password)
        return AuthResult(success=True)


Behaviour = Callable[[BaseHTTPRequestHandler], None]


def answer(status: int, **headers: str) -> Behaviour:
    """Return the behaviour of a webhook that answers so."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return behave


class Hook:
    """A webhook on 127.0.0.1; it answers 204 unless it is told otherwise.

    :param context: with it, it speaks TLS
    :ivar behaviours: how it is to behave next
    :ivar taken: path, headers and body of each request
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.behaviours: list[Behaviour] = []
        self.taken: list[tuple[str, Any, bytes]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.taken.append((self.path, self.headers, body))
                (hook.behaviours.pop(0) if hook.behaviours else answer(204))(self)

            def do_GET(self) -> None:
                hook.taken.append((self.path, self.headers, b""))
                answer(204)(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{self.port}/hook"

    def __enter__(self) -> Hook:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
