"""Whichever filter denies a request, the log says which request and why."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from labapi_middleware.basic import Basic
from labapi_middleware.context import Context
from labapi_middleware.ip_whitelist import IpWhitelist
from labapi_middleware.noauth import NoAuth
from labapi_middleware.ratelimit import RateLimit
from labapi_middleware.sizelimit import SizeLimit
from tests.middleware.conftest import build, call, environ, plain


def reading(request: dict[str, Any], start_response: Any) -> Any:
    request["wsgi.input"].read()
    return plain()(request, start_response)


def unlimited(folder: Path) -> Any:
    app = build(RateLimit, plain(), rule_all="* *: 1 per hour per address")
    call(app, environ(method="DELETE"))
    return app


def passwords(folder: Path) -> Any:
    hashed = bcrypt.hashpw(b"wonderland", bcrypt.gensalt(4)).decode()
    (folder / "htpasswd").write_text(f"alice:{hashed}\n")
    return build(Basic, plain(), htpasswd_file=str(folder / "htpasswd"))


LARGE = {"method": "POST", "body": b"x" * 11}
CASES: dict[str, tuple[Callable[[Path], Any], dict[str, Any], int, str]] = {
    "noauth": (
        lambda _: build(NoAuth, plain()),
        {"REMOTE_ADDR": "192.0.2.7"},
        403,
        "only clients on the same machine are served",
    ),
    "ip_whitelist": (
        lambda _: build(IpWhitelist, plain(), allow="10.0.0.0/8"),
        {"REMOTE_ADDR": "192.0.2.7"},
        403,
        "not in the option 'allow'",
    ),
    "context": (
        lambda _: build(Context, plain()),
        {},
        401,
        "its identity is not confirmed",
    ),
    "basic, no login": (passwords, {}, 401, "no login"),
    "basic, another login": (
        passwords,
        {"headers": {"Authorization": "Bearer x"}},
        401,
        "not a login of HTTP Basic",
    ),
    "basic, wrong password": (
        passwords,
        {"headers": {"Authorization": "Basic YWxpY2U6eA=="}},
        401,
        "wrong password of alice",
    ),
    "ratelimit": (unlimited, {}, 429, "rule_all allows 1 per hour per address"),
    "sizelimit": (
        lambda _: build(SizeLimit, plain(), max_request_body_size="10"),
        LARGE,
        413,
        "the body is larger than 10 bytes",
    ),
    "sizelimit, counting": (
        lambda _: build(SizeLimit, reading, max_request_body_size="10"),
        {**LARGE, "CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"},
        413,
        "the body is larger than 10 bytes",
    ),
    "sizelimit, no number": (
        lambda _: build(SizeLimit, plain()),
        {"method": "POST", "CONTENT_LENGTH": "+5"},
        400,
        "Content-Length is not a number",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_denial_says_its_reason_in_the_log(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make, given, status, reason = CASES[case]
    app = make(tmp_path)
    request = environ(**given, **{"labapi.request_id": "req-1"})
    with caplog.at_level(logging.INFO):
        assert call(app, request).status == status
    (line,) = [record.getMessage() for record in caplog.records]
    client, method = request["REMOTE_ADDR"], request["REQUEST_METHOD"]
    assert line == f"req-1 {client} {method} /v2.1/slaves denied: {reason}"
