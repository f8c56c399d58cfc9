"""context behind keystonemiddleware's own auth_token: what a client says of itself never counts."""

from __future__ import annotations

import socket

import pytest

from tests.middleware import servers
from tests.middleware.conftest import build, call, environ
from tests.middleware.spoofing import spoofed

auth_token = pytest.importorskip("keystonemiddleware.auth_token")

from keystonemiddleware.auth_token import _request  # noqa: E402 - after the check above

from labapi_middleware import identity  # noqa: E402
from labapi_middleware.context import Context  # noqa: E402
from labapi_middleware.faultwrap import Faultwrap  # noqa: E402


def pipeline(app, url="", **options):
    url = url or f"http://127.0.0.1:{servers.free_port()}/v3"
    conf = {
        "www_authenticate_uri": "http://keystone.example/v3",
        "auth_url": url,
        "auth_type": "password",
        "username": "labapi",
        "password": "secret",
        "project_name": "service",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "http_request_max_retries": "0",
        "http_connect_timeout": "1",
    }
    factory = auth_token.filter_factory({}, **conf, **options)
    return build(Faultwrap, factory(build(Context, app)))


def test_no_token_is_refused_with_a_fault_that_says_where_to_get_one(recorder):
    answer = call(pipeline(recorder), environ())
    assert answer.status == 401
    name, fault = answer.fault
    assert (name, fault["code"]) == ("unauthorized", 401)
    assert answer.headers["WWW-Authenticate"] == 'Keystone uri="http://keystone.example/v3"'


@pytest.mark.parametrize("delayed", ["true", "false"])
@pytest.mark.parametrize("token", [{}, {"HTTP_X_AUTH_TOKEN": "bogus"}])
def test_claims_never_count(recorder, delayed, token):
    claimed = {key: value for key, value in spoofed().items() if "TOKEN" not in key}
    answer = call(pipeline(recorder, delay_auth_decision=delayed), environ(**claimed, **token))
    assert answer.status == (503 if token and delayed == "false" else 401)
    assert answer.headers["Content-Type"] == "application/json"
    assert recorder.calls == 0


def test_keystone_that_is_away_is_a_503(recorder):
    answer = call(pipeline(recorder), environ(HTTP_X_AUTH_TOKEN="some"))
    assert answer.status == 503
    assert answer.fault[0] == "serviceUnavailable"
    assert recorder.calls == 0


def test_keystone_that_does_not_answer_is_a_503(recorder):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v3"
        answer = call(pipeline(recorder, url), environ(HTTP_X_AUTH_TOKEN="some"))
    assert answer.status == 503
    assert answer.fault[0] == "serviceUnavailable"
    assert recorder.calls == 0


def test_the_list_of_what_auth_token_answers_for_is_its_own():
    request = _request._AuthTokenRequest.blank("/")
    own = {"HTTP_" + name.upper().replace("-", "_") for name in request._all_auth_headers()}
    assert own == identity.CONFIRMED_KEYS
    assert all(key.startswith(identity._PREFIXES) for key in own)
