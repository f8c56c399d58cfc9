"""Whatever a client sends, it gets an answer that is not an internal error."""

from __future__ import annotations

import io
import json
import time
from typing import Any
from urllib.parse import quote

import pytest
import webob
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lab import HOST, Lab, ask

CASE = {
    "plugin": "linux_system",
    "host": HOST,
    "method": "run_shell",
    "parameters": {"command": "true"},
}

SETTINGS = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=12), children, max_size=4)
    ),
    max_leaves=12,
)
# Bodies that are nearly right reach further into the code than random ones.
near_cases = st.fixed_dictionaries(
    {},
    optional={
        "plugin": st.just("linux_system") | json_values,
        "host": st.just(HOST) | json_values,
        "method": st.sampled_from(["ping", "system_information"]) | json_values,
        "parameters": json_values,
        "timeout": json_values,
    },
)


def post(lab: Lab, body: bytes, url: str = "/v2.1/testcases") -> webob.Response:
    request = webob.Request.blank(
        url, method="POST", body=body, content_type="application/json", remote_addr="127.0.0.1"
    )
    return request.get_response(lab.app)


def is_fault_or_success(response: webob.Response) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        (fault,) = response.json.values()
        assert fault["code"] == response.status_code
        assert fault["message"]


def test_a_body_that_is_not_utf8(lab: Lab) -> None:
    body = json.dumps(CASE).replace("true", "caf\u00e9").encode("latin-1")
    response = post(lab, body)
    assert response.status_code == 400
    assert response.json["badRequest"]["message"].startswith("the body is not UTF-8 (at byte ")


def test_a_field_twice_after_very_many_others(lab: Lab) -> None:
    names = [f'"{number:x}":1' for number in range(50_000)]
    began = time.thread_time()
    response = post(lab, ("{" + ",".join([*names, names[-1]]) + "}").encode())
    assert time.thread_time() - began < 5  # of the processor; each with each takes minutes
    assert response.json["badRequest"]["message"] == "the body has the field 'c34f' twice"


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_a_time_outside_the_calendar(lab: Lab, since: str) -> None:
    url = f"/v2.1/testcases?since={quote(since)}"
    response = webob.Request.blank(url, remote_addr="127.0.0.1").get_response(lab.app)
    assert response.status_code == 400
    assert response.json["badRequest"]["message"].startswith(f"since: '{since}' is not a time")


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
def test_the_first_and_the_last_time_that_there_is(lab: Lab, since: str) -> None:
    url = f"/v2.1/testcases?since={quote(since)}"
    response = webob.Request.blank(url, remote_addr="127.0.0.1").get_response(lab.app)
    assert response.status_code == 200


def test_a_number_that_would_become_infinite(lab: Lab) -> None:
    body = json.dumps({**CASE, "parameters": {"command": "true", "args": []}})
    response = post(lab, body.replace("[]", "-1e400").encode())
    message = "the body has a number that is too large: -1e400"
    assert response.json["badRequest"]["message"] == message


def test_a_content_type_in_capitals(lab: Lab) -> None:
    request = webob.Request.blank("/v2.1/testcases", method="POST", remote_addr="127.0.0.1")
    request.body = json.dumps(CASE).encode()
    request.content_type = "Application/JSON"
    assert request.get_response(lab.app).status_code == 202


def test_a_body_larger_than_the_limit(lab: Lab) -> None:
    response = post(lab, json.dumps({**CASE, "plugin": "x" * 1_100_000}).encode())
    assert response.status_code == 413
    assert response.json["overLimit"]["code"] == 413


def test_a_chunked_body_larger_than_the_limit(lab: Lab) -> None:
    request = webob.Request.blank("/v2.1/testcases", method="POST", remote_addr="127.0.0.1")
    request.content_type = "application/json"
    request.environ["wsgi.input"] = io.BytesIO(b'{"plugin": "' + b"x" * 1_100_000 + b'"}')
    request.environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    request.content_length = None
    assert request.get_response(lab.app).status_code == 413


def test_a_chunked_body(lab: Lab) -> None:
    request = webob.Request.blank("/v2.1/testcases?wait=60", method="POST", remote_addr="127.0.0.1")
    request.content_type = "application/json"
    request.environ["wsgi.input"] = io.BytesIO(json.dumps(CASE).encode())
    request.environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    request.content_length = None
    response = request.get_response(lab.app)
    assert (response.status_code, response.json["result"]) == (200, "PASS")


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "P\u00d6ST", "x" * 99]
)
def test_any_method_anywhere(lab: Lab, method: str) -> None:
    for path in ("/", "/v2.1", "/v2.1/slaves", "/v2.1/testcases/1", "/v2.1/nowhere", "//", ""):
        response = webob.Request.blank(path, method=method, remote_addr="127.0.0.1").get_response(
            lab.app
        )
        assert response.status_code < 500


@SETTINGS
@given(body=st.binary(max_size=200))
def test_bytes_as_a_body(lab: Lab, body: bytes) -> None:
    is_fault_or_success(post(lab, body))


@SETTINGS
@given(document=json_values)
def test_json_as_a_body(lab: Lab, document: Any) -> None:
    is_fault_or_success(post(lab, json.dumps(document).encode()))


@SETTINGS
@given(document=near_cases)
def test_nearly_a_case(lab: Lab, document: Any) -> None:
    is_fault_or_success(post(lab, json.dumps(document).encode()))


@SETTINGS
@given(path=st.text(max_size=40), noun=st.sampled_from(["slaves", "testcases"]))
def test_any_path(lab: Lab, path: str, noun: str) -> None:
    url = f"/v2.1/{noun}/{quote(path, errors='surrogatepass')}"
    is_fault_or_success(webob.Request.blank(url, remote_addr="127.0.0.1").get_response(lab.app))


@SETTINGS
@given(
    name=st.sampled_from(["limit", "marker", "since", "state", "host", "plugin", "nothing"]),
    value=st.text(max_size=40) | st.integers().map(str) | st.floats().map(str),
)
def test_any_query(lab: Lab, name: str, value: str) -> None:
    url = f"/v2.1/testcases?{name}={quote(value, errors='surrogatepass')}"
    is_fault_or_success(webob.Request.blank(url, remote_addr="127.0.0.1").get_response(lab.app))


def test_who_has_no_project_makes_nothing(lab: Lab) -> None:
    app = lab.app_of("")
    plan = {"name": "a plan", "testplan": {"1": {"Serial-Step-1": {"1": CASE}}}}
    lease = {"hosts": [HOST], "seconds": 60}
    for path, body in (("/testcases", CASE), ("/testplans", plan), ("/leases", lease)):
        answer = ask(app, path, body)
        assert answer.status_code == 403, answer.text
        assert "is a project's, and you have none" in answer.text
