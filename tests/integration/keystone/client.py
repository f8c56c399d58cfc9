"""Requests in a user's name, with headers exactly as they are written."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def fault(self) -> dict[str, Any]:
        ((_, fault),) = self.json().items()
        assert fault["code"] == self.status
        assert fault["request_id"] == self.headers["X-Openstack-Request-Id"]
        return dict(fault)


class Client:
    """Sends requests to the API.

    :param port: where it listens on loopback
    :param tokens: by the user's name
    """

    def __init__(self, port: int, tokens: dict[str, str]) -> None:
        self.port = port
        self.tokens = tokens

    def send(
        self,
        method: str,
        path: str,
        user: str | None = None,
        body: Any = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Answer:
        """Send one request; a header may be there several times and in any spelling."""
        data = b"" if body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=180)
        try:
            connection.putrequest(method, f"/v2.1{path}")
            for name, value in headers:
                connection.putheader(name, value)
            if user is not None:
                connection.putheader("X-Auth-Token", self.tokens[user])
            if data:
                connection.putheader("Content-Type", "application/json")
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def run(self, user: str, *words: str, wait: int = 0) -> Answer:
        """Run a command on the lab's only host."""
        (slave,) = self.send("GET", "/slaves", "admin").json().values()
        command, *args = words
        case = {
            "plugin": "linux_system",
            "host": slave["host"],
            "method": "run_shell",
            "parameters": {"command": command, "args": args},
        }
        return self.send("POST", f"/testcases{f'?wait={wait}' if wait else ''}", user, case)
