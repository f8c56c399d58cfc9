"""access_log: one line for each request, which no client can forge."""

from __future__ import annotations

import logging
import re

import pytest

from labapi_middleware.access_log import AccessLog
from labapi_middleware.filter import OptionError
from labapi_middleware.noauth import NoAuth
from labapi_middleware.proxy import Proxy
from tests.middleware.conftest import build, call, environ, plain, validated


@pytest.fixture(autouse=True)
def _level(caplog):
    caplog.set_level(logging.INFO, "labapi_middleware.access_log")


def lines(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "labapi_middleware.access_log"]


def test_a_line_has_all_that_matters(caplog):
    def api(request, start_response):
        request["labapi.route"] = "/v2.1/{noun}"
        return plain(b"12345")(request, start_response)

    app = build(AccessLog, build(NoAuth, api))
    call(app, environ("GET", "/v2.1/slaves", **{"labapi.request_id": "req-1"}))
    (line,) = lines(caplog)
    head, route = line.rsplit(" ", 1)
    assert re.fullmatch(r'req-1 127\.0\.0\.1 noauth "GET /v2\.1/slaves" 200 5 \d+\.\d{3}', head)
    assert route == "/v2.1/{noun}"


def test_what_is_not_known_is_a_dash(caplog):
    request = environ()
    del request["REMOTE_ADDR"]
    call(build(AccessLog, plain()), request)
    assert lines(caplog)[0].startswith('- - - "GET')
    assert lines(caplog)[0].endswith(" unmatched")


def test_a_claimed_user_is_not_logged(caplog):
    headers = {"X-User-Id": "root", "X-Identity-Status": "Confirmed"}
    call(build(AccessLog, plain()), environ(headers=headers))
    assert "root" not in lines(caplog)[0]


def test_the_client_is_the_one_that_proxy_found(caplog):
    app = build(AccessLog, build(Proxy, plain(), trusted_proxies="127.0.0.1"))
    call(app, environ(headers={"X-Forwarded-For": "192.0.2.9"}))
    assert " 192.0.2.9 " in lines(caplog)[0]


def test_the_line_comes_after_the_body(caplog):
    def app(request, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"one"
        assert not lines(caplog)
        yield b"two"

    assert call(build(AccessLog, app), environ()).body == b"onetwo"
    assert '" 200 6 ' in lines(caplog)[0]


def test_a_body_given_up_is_marked(caplog):
    def app(request, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"one"
        yield b"two"

    result = build(AccessLog, app)(environ(), lambda *a: None)
    next(iter(result))
    result.close()
    result.close()
    (line,) = lines(caplog)
    assert '" 200 3! ' in line


def test_an_exception_still_leaves_a_line(caplog):
    def dies(request, start_response):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        call(build(AccessLog, dies), environ())
    (line,) = lines(caplog)
    assert '" 500 0! ' in line


def test_written_bytes_count(caplog):
    def app(request, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])(b"1234")
        return [b"5"]

    call(build(AccessLog, app), environ())
    assert '" 200 5 ' in lines(caplog)[0]


def test_the_query_is_logged_only_on_request(caplog):
    request = environ(QUERY_STRING="token=s3cret&x=%0a\n")
    call(build(AccessLog, plain()), dict(request))
    assert "s3cret" not in lines(caplog)[0]
    call(build(AccessLog, plain(), log_query="true"), dict(request))
    assert "/v2.1/slaves?token=s3cret&x=%0a%0A" in lines(caplog)[1]


@pytest.mark.parametrize(
    "path", ["/a\r\nreq-1 forged", "/\x1b[31m", '/" 200 5 0.1', "/\x00", "/\x85\xa0\xff", "/\u2028"]
)
def test_a_path_cannot_forge_a_line(caplog, path):
    call(build(AccessLog, plain()), environ(path=path))
    (line,) = lines(caplog)
    assert line.isascii()
    assert line.isprintable()
    assert line.count('"') == 2


def test_a_method_and_an_address_cannot_forge_a_line(caplog):
    call(build(AccessLog, plain()), environ("GET\x1b\n", REMOTE_ADDR="1\n2"))
    assert lines(caplog)[0].isprintable()


def test_a_rewritten_path_is_logged_as_it_came(caplog):
    def urlmap(request, start_response):
        request["SCRIPT_NAME"], request["PATH_INFO"] = "/v2.1", "/other"
        return plain()(request, start_response)

    call(build(AccessLog, urlmap), environ(path="/v2.1/slaves"))
    assert '"GET /v2.1/slaves"' in lines(caplog)[0]


def test_an_unknown_option_is_refused():
    with pytest.raises(OptionError, match="did you mean 'log_query'"):
        build(AccessLog, plain(), log_qery="true")


def test_it_conforms_to_wsgi():
    app = validated(build(AccessLog, validated(plain())))
    assert call(app, environ(QUERY_STRING="")).body == b"ok"
