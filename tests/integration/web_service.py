"""A web service, and the ``systemctl`` that starts and stops it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.processes import free_port


class WebService:
    """The unit ``demo``: while it runs, it adds two numbers that are posted to it.

    What a case starts ends with the case, so, as systemd's, this ``systemctl`` only asks somebody
    else to start it: the test.

    :param folder: where ``systemctl`` is put
    :ivar url: of the service
    :ivar did: what was asked of ``systemctl`` and of the service
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.did: list[str] = []
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}/v1/"
        self._demo: ThreadingHTTPServer | None = None
        self._control = _served(0, self._control_one)
        systemctl = folder / "systemctl"
        where = f"http://127.0.0.1:{self._control.server_address[1]}"
        systemctl.write_text(f'#!/bin/sh\nexec curl -sSf -X POST -d "" "{where}/$1/$2"\n')
        systemctl.chmod(0o755)

    def close(self) -> None:
        """Stop everything."""
        self._stop()
        self._control.shutdown()
        self._control.server_close()

    def _control_one(self, _method: str, path: str, _body: bytes) -> tuple[int, Any]:
        _, verb, unit = path.split("/")
        if (verb, unit) == ("start", "demo"):
            self._demo = _served(self._port, self._add)
        elif (verb, unit) == ("stop", "demo"):
            self._stop()
        else:
            return 404, "there is no such unit"
        self.did.append(verb)
        return 200, ""

    def _add(self, method: str, _path: str, body: bytes) -> tuple[int, Any]:
        self.did.append(method)
        given = json.loads(body) if body else {}
        return 200, {"sum": sum(given.values())}

    def _stop(self) -> None:
        if self._demo is not None:
            self._demo.shutdown()
            self._demo.server_close()
            self._demo = None


def _served(port: int, answer: Any) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, said = answer(self.command, self.path, body)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server
