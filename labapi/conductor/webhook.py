"""Posting JSON to a webhook, once: no redirect is followed, and all of it ends in time."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from labapi import tls
from labapi.conductor.deadline import shut_at
from labapi.conductor.destinations import Destinations, NotSent
from labapi.plans.plain import line

READ = 4096  # bytes of the answer that are read
SHOWN = 100  # characters of its reason

TIMESTAMP = "X-Labapi-Timestamp"
SIGNATURE = "X-Labapi-Signature"


class Webhooks:
    """Posts to webhooks.

    :param options: the group ``[notify]``
    :raises ConfigError: an option cannot be used
    """

    def __init__(self, options: Any) -> None:
        self._timeout: float = options.timeout
        self._destinations = Destinations(options)
        files = tls.files("notify", options)
        files.context()  # says what is wrong with the files
        self._context = ssl.create_default_context()
        if files.ca:
            self._context.load_verify_locations(files.ca)

    def post(self, url: str, body: bytes, secret: str | None, headers: Mapping[str, str]) -> None:
        """Post JSON, and be content with an answer of 2xx.

        :param secret: what signs it, None for no signature
        :raises NotSent: it was not taken, or not in time
        """
        until = time.monotonic() + self._timeout
        parts = urlsplit(url)
        secure, host = parts.scheme == "https", parts.hostname or ""
        port = parts.port or (443 if secure else 80)
        connection = http.client.HTTPConnection(host, port)
        connection.sock = self._destinations.connect(host, port, until)
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        given = {**headers, **signed(body, secret), "Host": _host(parts.netloc)}
        try:
            with closing(connection), shut_at(until, lambda: connection.sock):
                if secure:
                    connection.sock = self._context.wrap_socket(
                        connection.sock, server_hostname=host, do_handshake_on_connect=False
                    )
                    connection.sock.do_handshake()
                status, reason = _answer(connection, target, body, given)
        except (OSError, http.client.HTTPException) as error:
            late = time.monotonic() >= until
            why = f"no answer within {self._timeout:g} s" if late else _why(error)
            raise NotSent(f"{host}: {why}") from None
        if not 200 <= status < 300:
            raise NotSent(f"{host} answered {status} {line(reason)[:SHOWN]}".rstrip())


def signed(body: bytes, secret: str | None) -> dict[str, str]:
    """Return the headers by which a receiver knows who sent a body, and when.

    The signature is over the timestamp, a dot and the body.
    """
    now = str(int(time.time()))
    if secret is None:
        return {TIMESTAMP: now}
    digest = hmac.new(secret.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    return {TIMESTAMP: now, SIGNATURE: f"sha256={digest}"}


def _answer(
    connection: http.client.HTTPConnection, target: str, body: bytes, headers: Mapping[str, str]
) -> tuple[int, str]:
    connection.putrequest("POST", target, skip_host=True, skip_accept_encoding=True)
    about = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "User-Agent": "labapi",
        "Connection": "close",
    }
    for name, value in {**about, **headers}.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    with connection.getresponse() as response:
        response.read(READ)
        return response.status, response.reason


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2]


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not hold: {error.verify_message}"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return line(text)[:SHOWN]
