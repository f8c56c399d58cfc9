"""context: only an identity that the pipeline has confirmed becomes one."""

from __future__ import annotations

import pytest

from labapi_middleware.context import Context
from tests.middleware.conftest import build, call, environ
from tests.middleware.spoofing import spoofed

CONFIRMED = {
    "keystone.token_info": {"token": {}},
    "HTTP_X_IDENTITY_STATUS": "Confirmed",
    "HTTP_X_USER_ID": "u1",
    "HTTP_X_USER_NAME": "alice",
    "HTTP_X_PROJECT_ID": "p1",
    "HTTP_X_ROLES": "Member, reader,,MEMBER",
}


def test_a_confirmed_identity_becomes_the_context(recorder):
    request = environ(**CONFIRMED, **{"labapi.request_id": "req-1"})
    assert call(build(Context, recorder), request).status == 200
    assert recorder.environ["labapi.context"] == {
        "request_id": "req-1",
        "global_request_id": None,
        "auth": "keystone",
        "user_id": "u1",
        "user_name": "alice",
        "user_domain_id": None,
        "project_id": "p1",
        "project_name": None,
        "project_domain_id": None,
        "domain_id": None,
        "roles": ("member", "reader"),
        "remote_address": "127.0.0.1",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"keystone.token_info": None},
        {"keystone.token_info": None, "keystone.token_auth": object()},
        {"HTTP_X_IDENTITY_STATUS": "Invalid"},
        {"HTTP_X_IDENTITY_STATUS": "confirmed"},
        {"HTTP_X_IDENTITY_STATUS": "Invalid,Confirmed"},
        {"HTTP_X_USER_ID": None},
        {"HTTP_X_USER_ID": "None"},
        {"HTTP_X_SERVICE_IDENTITY_STATUS": "Invalid"},
        {"keystone.token_info": None, "HTTP_LABAPI.AUTH": "noauth", "HTTP_LABAPI_AUTH": "noauth"},
    ],
)
def test_everything_else_is_refused(change, recorder):
    answer = call(build(Context, recorder), environ(**{**CONFIRMED, **change}))
    assert answer.status == 401
    assert answer.fault[0] == "unauthorized"
    assert recorder.calls == 0


def test_headers_alone_are_no_identity(recorder):
    assert call(build(Context, recorder), environ(**spoofed())).status == 401


def test_what_auth_token_lets_through_is_dropped(recorder):
    let_through = {
        "HTTP_OPENSTACK_SYSTEM_SCOPE": "all",
        "HTTP_X_USER_ROLES": "admin",
        "HTTP_X_SERVICE_ROLE": "admin",
        "HTTP_X_TRUST_ID": "t",
        "HTTP_X_AUTH_KEY": "k",
        "HTTP_X_AUTH_TOKEN": "secret",
    }
    request = environ(**CONFIRMED, **let_through, HTTP_X_DOMAIN_ID=None, HTTP_X_PROJECT_NAME="None")
    assert call(build(Context, recorder), request).status == 200
    assert not let_through.keys() & recorder.environ.keys()
    assert "HTTP_X_DOMAIN_ID" not in recorder.environ
    context = recorder.environ["labapi.context"]
    assert context["roles"] == ("member", "reader")
    assert context["domain_id"] is None
    assert context["project_name"] is None


def test_a_token_without_a_project_has_none(recorder):
    request = environ(**{**CONFIRMED, "HTTP_X_PROJECT_ID": None})
    call(build(Context, recorder), request)
    assert recorder.environ["labapi.context"]["project_id"] is None


def test_a_claimed_context_does_not_survive(recorder):
    answer = call(build(Context, recorder), environ(HTTP_LABAPI_CONTEXT="{}"))
    assert answer.status == 401
