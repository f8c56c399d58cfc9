from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from labapi import config
from labapi.conductor.destinations import NotSent
from labapi.conductor.webhook import SIGNATURE, TIMESTAMP, Webhooks
from tests.receivers import Hook, Issuer, answer

BODY = b'{"result": "PASS"}'
OPEN = ["127.0.0.0/8"]


def webhooks(**options: Any) -> Webhooks:
    given = {"allowed_networks": OPEN, "timeout": 30.0, **options}
    return Webhooks(config.new(**{f"notify__{k}": v for k, v in given.items()}).notify)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as hook:
        yield hook


def test_it_is_signed(hook: Hook) -> None:
    webhooks().post(f"{hook.url}?a=b", BODY, "s3cret", {"X-Labapi-Event": "e"})
    ((path, headers, body),) = hook.taken
    assert (path, body) == ("/hook?a=b", BODY)
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Labapi-Event"] == "e"
    assert headers["Host"] == f"127.0.0.1:{hook.port}"
    assert abs(int(headers[TIMESTAMP]) - time.time()) < 60
    over = headers[TIMESTAMP].encode() + b"." + body
    digest = hmac.new(b"s3cret", over, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"sha256={digest}"


def test_without_a_secret_it_is_not(hook: Hook) -> None:
    webhooks().post(hook.url, BODY, None, {})
    ((_, headers, _),) = hook.taken
    assert SIGNATURE not in headers


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_2xx_is_good(hook: Hook, status: int) -> None:
    hook.behaviours = [answer(status)]
    webhooks().post(hook.url, BODY, None, {})


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
def test_another_answer_is_not(hook: Hook, status: int) -> None:
    hook.behaviours = [answer(status)]
    with pytest.raises(NotSent, match=f"127.0.0.1 answered {status}") as caught:
        webhooks().post(hook.url, BODY, None, {})
    assert not caught.value.final


def test_no_redirect_is_followed(hook: Hook) -> None:
    with Hook() as other:
        hook.behaviours = [answer(307, Location=other.url), answer(302, Location="/elsewhere")]
        for status in (307, 302):
            with pytest.raises(NotSent, match=f"answered {status}"):
                webhooks().post(hook.url, BODY, None, {})
        assert not other.taken
    assert [path for path, *_ in hook.taken] == ["/hook", "/hook"]


def test_loopback_is_forbidden_by_default(hook: Hook) -> None:
    with pytest.raises(NotSent, match="forbidden"):
        webhooks(allowed_networks=[]).post(hook.url, BODY, None, {})
    assert not hook.taken


def slowly(text: bytes, release: threading.Event) -> Any:
    """Return a behaviour that writes a byte now and then."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        for byte in text:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            if release.wait(0.1):
                return

    return behave


@pytest.mark.parametrize(
    "text", [b"", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 600, b"HTTP/1.1 100 Continue\r\n\r\n" * 30]
)
def test_it_ends_in_time_however_slow_the_answer_is(hook: Hook, text: bytes) -> None:
    release = threading.Event()
    behave = slowly(text, release) if text else lambda _: release.wait(60)
    hook.behaviours = [behave]
    began = time.monotonic()
    with pytest.raises(NotSent, match="no answer within 1 s"):
        webhooks(timeout=1.0).post(hook.url, BODY, None, {})
    assert time.monotonic() - began < 20
    release.set()


def test_a_large_answer_is_not_read(hook: Hook) -> None:
    sent = []

    def large(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(5000):
            sent.append(handler.wfile.write(b"x" * 100_000))

    hook.behaviours = [large]
    webhooks().post(hook.url, BODY, None, {})
    assert len(sent) < 5000


def test_an_answer_that_is_none(hook: Hook) -> None:
    hook.behaviours = [lambda handler: handler.wfile.write(b"\x1b[31mSSH-2.0\r\n\r\n")]
    with pytest.raises(NotSent) as caught:
        webhooks().post(hook.url, BODY, None, {})
    assert str(caught.value).isprintable()


def test_the_reason_of_an_answer_is_plain(hook: Hook) -> None:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 500 \x1b[31m" + b"x" * 5000 + b"\r\n\r\n")

    hook.behaviours = [behave]
    with pytest.raises(NotSent) as caught:
        webhooks().post(hook.url, BODY, None, {})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


def test_tls_is_checked(issuer: Issuer) -> None:
    with Hook(issuer.server("127.0.0.1")) as hook:
        webhooks(ca_file=str(issuer.file)).post(hook.url, BODY, None, {})
        assert len(hook.taken) == 1
        with pytest.raises(NotSent, match="its certificate does not hold"):
            webhooks().post(hook.url, BODY, None, {})


def test_the_name_is_that_of_the_url(issuer: Issuer) -> None:
    """The connection goes to an address, and the certificate has to be the name's."""
    with Hook(issuer.server("localhost")) as hook:
        by_name = hook.url.replace("127.0.0.1", "localhost")
        webhooks(ca_file=str(issuer.file)).post(by_name, BODY, None, {})
        ((_, headers, _),) = hook.taken
        assert headers["Host"] == f"localhost:{hook.port}"
        with pytest.raises(NotSent, match="its certificate does not hold"):
            webhooks(ca_file=str(issuer.file)).post(hook.url, BODY, None, {})


def test_a_handshake_that_hangs() -> None:
    with Hook() as hook:  # it waits for a request line that does not come
        url = hook.url.replace("http:", "https:")
        began = time.monotonic()
        with pytest.raises(NotSent):
            webhooks(timeout=1.0).post(url, BODY, None, {})
        assert time.monotonic() - began < 20
