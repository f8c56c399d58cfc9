"""noauth: one identity for this machine, and nobody else gets in."""

from __future__ import annotations

import pytest

from labapi_middleware.context import Context
from labapi_middleware.filter import OptionError
from labapi_middleware.noauth import NoAuth
from labapi_middleware.proxy import Proxy
from tests.middleware.conftest import build, call, environ, plain, validated
from tests.middleware.spoofing import spoofed


def test_everybody_here_is_the_configured_user(recorder):
    app = build(NoAuth, build(Context, recorder), user_id="u", project_id="p", roles="Admin, x")
    assert call(app, environ()).status == 200
    context = recorder.environ["labapi.context"]
    assert context["auth"] == "noauth"
    assert (context["user_id"], context["project_id"]) == ("u", "p")
    assert context["roles"] == ("admin", "x")


def test_what_a_client_claims_is_dropped(recorder):
    assert call(build(NoAuth, recorder), environ(**spoofed())).status == 200
    assert "EVIL" not in recorder.environ.values()
    assert recorder.environ["HTTP_X_USER_ID"] == "noauth"
    assert recorder.environ["HTTP_X_ROLES"] == "admin,member,reader"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_served(address, recorder):
    assert call(build(NoAuth, recorder), environ(REMOTE_ADDR=address)).status == 200


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "0.0.0.0", "::", "fe80::1", "::ffff:192.0.2.1", "", "localhost.evil"]
)
def test_others_are_not_served(address, recorder):
    answer = call(build(NoAuth, recorder), environ(REMOTE_ADDR=address))
    assert answer.status == 403
    assert "same machine" in answer.fault[1]["message"]
    assert recorder.calls == 0


def test_a_request_without_an_address_is_not_served(recorder):
    request = environ()
    del request["REMOTE_ADDR"]
    assert call(build(NoAuth, recorder), request).status == 403


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-For", "Forwarded", "X-Real-Ip", "True-Client-Ip", "CF-Connecting-Ip", "Via"],
)
@pytest.mark.parametrize("behind_proxy_filter", [False, True])
def test_a_proxy_here_does_not_make_the_world_local(header, behind_proxy_filter, recorder):
    app = build(NoAuth, recorder)
    if behind_proxy_filter:
        app = build(Proxy, app)
    answer = call(app, environ(headers={header: "127.0.0.1"}))
    assert answer.status == 403
    assert "proxy" in answer.fault[1]["message"]


@pytest.mark.parametrize("client", ["192.0.2.1", "127.0.0.1"])
def test_a_trusted_proxy_tells_who_is_local(client, recorder):
    app = build(Proxy, build(NoAuth, recorder), trusted_proxies="127.0.0.2")
    answer = call(app, environ(headers={"X-Forwarded-For": client}, REMOTE_ADDR="127.0.0.2"))
    assert answer.status == (200 if client == "127.0.0.1" else 403)


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("127.0.0.1:8774", True),
        ("localhost", True),
        ("lab.localhost:8774", True),
        ("[::1]:8774", True),
        ("::1", True),
        ("labmachine:8774", True),
        ("evil.example", False),
        ("evil.example:8774", False),
        ("evil.", False),
        ("192.0.2.1", False),
        ("[2001:db8::1]", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
    ],
)
def test_a_name_that_points_here_from_elsewhere_is_not_served(host, served, recorder):
    answer = call(build(NoAuth, recorder), environ(HTTP_HOST=host))
    assert (answer.status == 200) is served


@pytest.mark.parametrize(
    ("headers", "served"),
    [
        ({"Origin": "http://localhost:8080"}, True),
        ({"Origin": "http://[::1]:8080"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://["}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
    ],
)
def test_a_page_from_elsewhere_cannot_use_a_browser_here(headers, served, recorder):
    answer = call(build(NoAuth, recorder), environ("POST", headers=headers))
    assert (answer.status == 200) is served


@pytest.mark.parametrize(
    "listen", ["127.0.0.1", "127.0.0.1:8774", "localhost:1", "[::1]:8774", "::1"]
)
def test_it_starts_on_loopback(listen):
    build(NoAuth, plain(), {"listen": listen})


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:8774", "[::]:8774", "::", "192.0.2.1", "lab.example:8774", "", ":8774", "*"]
)
def test_it_does_not_start_where_others_reach_it(listen):
    with pytest.raises(OptionError, match="insecure_allow_remote = true"):
        build(NoAuth, plain(), {"listen": listen})


def test_it_can_be_opened_in_so_many_words(recorder, caplog):
    app = build(NoAuth, recorder, {"listen": "0.0.0.0:8774"}, insecure_allow_remote="true")
    assert call(app, environ(REMOTE_ADDR="192.0.2.1", **spoofed())).status == 200
    assert recorder.environ["HTTP_X_USER_ID"] == "noauth"
    assert "insecure_allow_remote" in caplog.text


def test_a_user_without_a_name_stops_the_start():
    with pytest.raises(OptionError, match="user_id"):
        build(NoAuth, plain(), user_id=" ")


def test_it_conforms_to_wsgi():
    app = validated(build(NoAuth, validated(plain())))
    assert call(app, environ(QUERY_STRING="")).body == b"ok"
    assert call(app, environ(QUERY_STRING="", REMOTE_ADDR="192.0.2.1")).status == 403
