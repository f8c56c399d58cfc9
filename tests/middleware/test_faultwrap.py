"""faultwrap: every error leaves as a fault, whatever raised it and when."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from labapi_middleware import faults
from labapi_middleware.faultwrap import Faultwrap
from labapi_middleware.sizelimit import SizeLimit
from tests.middleware.conftest import Answer, build, call, environ, plain, validated

SECRET = "password=hunter2"
REQUEST_ID = "req-11111111-2222-3333-4444-555555555555"


class Body:
    """A body that fails, or not, and counts how often it is closed."""

    def __init__(self, chunks, error=None, start=None, close_error=None):
        self.chunks, self.error, self.start, self.close_error = chunks, error, start, close_error
        self.closed = 0

    def __iter__(self):
        if self.start:
            self.start()
        yield from self.chunks
        if self.error:
            raise self.error

    def close(self):
        self.closed += 1
        if self.close_error:
            raise self.close_error


def wrapped(app, **request) -> Answer:
    return call(
        build(Faultwrap, app),
        environ(**{"path": "/x", "labapi.request_id": REQUEST_ID, **request}),
    )


def body_app(body, status="200 OK", kind="text/plain", headers=()):
    def app(request, start_response):
        start_response(status, [("Content-Type", kind), *headers])
        return body

    return app


def raising(error):
    def app(request, start_response):
        raise error

    return app


def assert_fault(answer: Answer, code: int, name: str, message: str | None = None) -> None:
    assert answer.status == code
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    got, fault = answer.fault
    assert got == name
    assert fault["code"] == code
    assert fault["request_id"] == REQUEST_ID
    if message is not None:
        assert fault["message"] == message


class EventletTimeout(BaseException):
    """eventlet.Timeout is a BaseException and no Exception."""


@pytest.mark.parametrize("error", [RuntimeError(SECRET), KeyError(SECRET), EventletTimeout(SECRET)])
def test_an_exception_becomes_a_fault_and_its_text_stays_in_the_log(error, caplog):
    answer = wrapped(raising(error))
    assert_fault(answer, 500, "computeFault")
    assert SECRET.encode() not in answer.body
    (record,) = caplog.records
    assert REQUEST_ID in record.getMessage()
    assert SECRET in caplog.text
    assert "Traceback" in caplog.text


def test_an_exception_after_start_response_replaces_the_answer():
    def app(request, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
        raise RuntimeError(SECRET)

    assert_fault(wrapped(app), 500, "computeFault")


def test_an_exception_at_the_first_step_of_the_body_replaces_the_answer():
    body = Body([], RuntimeError(SECRET))
    assert_fault(wrapped(body_app(body)), 500, "computeFault")
    assert body.closed == 1


def test_an_exception_after_an_empty_chunk_replaces_the_answer():
    body = Body([b"", b""], RuntimeError(SECRET))
    assert_fault(wrapped(body_app(body)), 500, "computeFault")
    assert body.closed == 1


def test_an_exception_in_the_middle_of_the_body_breaks_the_connection(caplog):
    error = RuntimeError(SECRET)
    body = Body([b"half"], error)
    with pytest.raises(RuntimeError) as raised:
        wrapped(body_app(body))
    assert raised.value is error
    assert body.closed == 1
    (record,) = caplog.records
    assert REQUEST_ID in record.getMessage()
    assert "Traceback" in caplog.text


def test_an_exception_after_write_breaks_the_connection():
    def app(request, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])(b"half")
        raise RuntimeError(SECRET)

    with pytest.raises(RuntimeError, match="hunter2"):
        wrapped(app)


def test_the_end_of_the_process_is_not_a_fault():
    for error in (KeyboardInterrupt(), SystemExit(), GeneratorExit()):
        with pytest.raises(type(error)):
            wrapped(raising(error))


def test_a_good_answer_passes_as_it_is():
    chunks = [b"a", b"b"]
    start = []
    app = build(Faultwrap, body_app(chunks))
    assert app(environ(), lambda *a: start.append(a)) is chunks
    assert start[0][0] == "200 OK"


def test_a_lazy_start_response_works_for_good_and_bad_answers():
    def lazy(status):
        def app(request, start_response):
            def generate():
                start_response(status, [("Content-Type", "text/plain")])
                yield b"some"
                yield b"thing"

            return generate()

        return app

    assert wrapped(lazy("200 OK")).body == b"something"
    assert_fault(wrapped(lazy("409 Conflict")), 409, "conflictingRequest", "something")


def test_an_application_that_answers_nothing_is_a_fault():
    assert_fault(wrapped(lambda e, s: []), 500, "computeFault")
    assert_fault(wrapped(lambda e, s: None), 500, "computeFault")
    assert_fault(wrapped(lambda e, s: Body([b"x"])), 500, "computeFault")


def test_the_write_callable_works_for_good_and_bad_answers():
    def writing(status):
        def app(request, start_response):
            write = start_response(status, [("Content-Type", "text/plain")])
            write(b"some")
            return [b"thing"]

        return app

    assert wrapped(writing("200 OK")).body == b"something"
    assert_fault(wrapped(writing("400 Bad Request")), 400, "badRequest", "something")


def test_an_answer_that_the_application_replaces_itself_is_a_fault():
    def app(request, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            int(SECRET)
        except ValueError:
            start_response("500 Oops", [("Content-Type", "text/html")], sys.exc_info())
        return [b"<h1>hunter2</h1>"]

    answer = wrapped(app)
    assert_fault(answer, 500, "computeFault", faults.UNEXPECTED)
    assert answer.reason == "Oops"


@pytest.mark.parametrize(
    ("status", "name"),
    [
        ("400 Bad Request", "badRequest"),
        ("401 Unauthorized", "unauthorized"),
        ("403 Forbidden", "forbidden"),
        ("404 Not Found", "itemNotFound"),
        ("405 Method Not Allowed", "badMethod"),
        ("406 Not Acceptable", "computeFault"),
        ("409 Conflict", "conflictingRequest"),
        ("413 Too Large", "overLimit"),
        ("415 Unsupported Media Type", "badMediaType"),
        ("429 Too Many Requests", "overLimit"),
        ("499 Odd", "computeFault"),
        ("500 Internal Server Error", "computeFault"),
        ("501 Not Implemented", "notImplemented"),
        ("503 Service Unavailable", "serviceUnavailable"),
    ],
)
def test_a_page_becomes_the_fault_of_its_status(status, name):
    answer = wrapped(plain(b"<html><b>nginx</b></html>", status, "text/html; charset=utf-8"))
    assert_fault(answer, int(status[:3]), name)
    assert f"{answer.status} {answer.reason}" == status
    assert b"nginx" not in answer.body
    assert answer.fault[1]["message"]


def test_headers_that_say_what_to_do_stay_and_those_of_the_old_body_go():
    keep = [
        ("WWW-Authenticate", 'Keystone uri="http://k"'),
        ("Retry-After", "5"),
        ("Allow", "GET"),
        ("X-Openstack-Request-Id", REQUEST_ID),
    ]
    go = [("Content-Encoding", "gzip"), ("ETag", '"1"'), ("Content-Length", "7")]
    body = Body([b"\x1f\x8bxx"])
    answer = wrapped(body_app(body, "401 No", "text/plain", [*keep, *go]))
    assert_fault(answer, 401, "unauthorized")
    assert dict(keep).items() <= answer.headers.items()
    assert not {"Content-Encoding", "ETag"} & answer.headers.keys()
    assert body.closed == 1


def test_plain_text_of_a_server_error_is_not_shown():
    answer = wrapped(plain(b"Traceback: hunter2", "502 Bad Gateway"))
    assert_fault(answer, 502, "computeFault")
    assert b"hunter2" not in answer.body


def test_a_long_text_is_not_a_message():
    assert_fault(
        wrapped(plain(b"x" * 501, "404 Not Found")), 404, "itemNotFound", faults.message(404)
    )


def test_a_fault_passes_untouched():
    body = json.dumps({"itemNotFound": {"code": 404, "message": "no such host"}}).encode()
    answer = wrapped(plain(body, "404 Not Found", "application/json"))
    assert answer.body == body
    streamed = Body([body[:30], body[30:]])
    answer = wrapped(body_app(streamed, "404 Not Found", "application/json; charset=UTF-8"))
    assert answer.body == body
    assert streamed.closed == 1


def test_other_json_passes_untouched():
    for body in (b'{"title": "x"}', b'{"error": "x"}', b'{"error', b'{"error": {"message": 1}}'):
        answer = wrapped(plain(body, "503 Away", "application/problem+json"))
        assert answer.body == body


def test_the_json_of_keystonemiddleware_becomes_a_fault():
    body = b'{"error": {"code": 401, "title": "Unauthorized", "message": "Log in."}}'
    answer = wrapped(body_app(Body([body[:9], body[9:]]), "401 Unauthorized", "application/json"))
    assert_fault(answer, 401, "unauthorized", "Log in.")


def test_an_error_without_a_body_becomes_a_fault():
    for kind in ("application/json", "text/plain"):
        assert_fault(wrapped(plain(b"", "405 No", kind)), 405, "badMethod", faults.message(405))


def test_head_has_the_headers_of_a_fault_and_no_body():
    for app in (raising(RuntimeError()), plain(b"gone", "404 Not Found")):
        answer = wrapped(app, method="HEAD")
        assert answer.body == b""
        assert answer.headers["Content-Type"] == "application/json"
        assert int(answer.headers["Content-Length"]) > 0


def test_a_streamed_error_body_is_read_only_as_far_as_needed():
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield b"x" * 1024

    body = Body(endless())
    assert_fault(wrapped(body_app(body, "502 Bad")), 502, "computeFault")
    assert read < 50
    assert body.closed == 1


def test_close_happens_once_even_if_it_fails(caplog):
    body = Body([b"whole"], close_error=RuntimeError(SECRET))
    assert wrapped(body_app(body)).body == b"whole"
    assert body.closed == 1
    assert "closing the body failed" in caplog.text


class GoneClient:
    """The input of a client that reset the connection."""

    def read(self, *size):
        raise ConnectionResetError(104, "Connection reset by peer")


def test_a_client_that_hangs_up_while_sending_is_not_a_fault(caplog):
    caplog.set_level(logging.INFO)

    def app(request, start_response):
        request["wsgi.input"].read(10)

    answer = wrapped(app, **{"method": "POST", "CONTENT_LENGTH": "10", "wsgi.input": GoneClient()})
    assert_fault(answer, 400, "badRequest")
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.exc_info is None


def test_a_client_that_hangs_up_while_it_is_written_to_is_not_a_fault(caplog):
    caplog.set_level(logging.INFO)

    def app(request, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])(b"x")
        return []

    def gone(data):
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        build(Faultwrap, app)(environ(), lambda *a: gone)
    assert [r.levelno for r in caplog.records] == [logging.INFO]


def test_a_broken_connection_of_a_backend_is_a_fault(caplog):
    assert_fault(wrapped(raising(ConnectionResetError(104, "broker"))), 500, "computeFault")
    assert "Traceback" in caplog.text


def test_a_client_that_stops_reading_closes_the_body():
    body = Body([b"a", b"b"])
    result = build(Faultwrap, body_app(body))(environ(), lambda *a: None)
    assert next(iter(result)) == b"a"
    result.close()
    result.close()
    assert body.closed == 1


@pytest.mark.parametrize("character", ["\n", "\r", "\0", "\t", "\x1b", "\x7f"])
def test_a_path_with_a_control_character_goes_no_further(character, recorder, caplog):
    with caplog.at_level("INFO"):
        answer = wrapped(recorder, path=f"/v2.1/slaves/1/metadata{character}")
    assert_fault(answer, 400, "badRequest", "The URL's path has a control character.")
    assert recorder.calls == 0
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith(f"metadata%{ord(character):02X} denied: the path has a control character")


def test_a_path_in_another_script_goes_on(recorder):
    path = "/хост".encode().decode("latin-1")  # its bytes are C1 controls in latin-1
    assert wrapped(recorder, path=path).status == 200


def test_a_path_cannot_forge_a_log_line(caplog):
    # As latin-1: NEL, which some programs take for a line break, and a C1 control sequence.
    wrapped(raising(RuntimeError()), path="/x\x85ERROR forged\x9b2J")
    (record,) = caplog.records
    assert record.getMessage().isprintable()


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("text/html", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("text/html, application/json", False),
        ("text/html;q=0.5, application/json", False),
        ("application/json;q=0.5, text/html", True),
        ("text/html;q=0", False),
        ("text/html;q=junk", False),
        ("TEXT/HTML;Q=0.9", True),
        ("text/html;level=1;q=0.3, application/*;q=0.2", True),
    ],
)
def test_html_is_for_who_prefers_it(accept, html):
    headers = {} if accept is None else {"Accept": accept}
    app = plain(b"<script>alert(1)</script>", "404 Not Found")
    answer = wrapped(app, headers=headers)
    assert answer.headers["Content-Type"].startswith("text/html" if html else "application/json")
    if html:
        assert b"<script>" not in answer.body
        assert b"&lt;script&gt;" in answer.body
        assert REQUEST_ID.encode() in answer.body


def test_it_conforms_to_wsgi():
    for app in (plain(), plain(b"no", "404 Not Found"), raising(RuntimeError())):
        wrapped_app = validated(build(Faultwrap, app))
        answer = call(wrapped_app, environ(QUERY_STRING=""))
        assert answer.status in (200, 404, 500)


def test_it_keeps_what_a_server_offers_beyond_wsgi():
    class Input:
        def read(self, *size):
            return b"x"

        def send_hundred_continue_response(self):
            return "sent"

    def app(request, start_response):
        body = request["wsgi.input"].send_hundred_continue_response().encode()
        return plain(body)(request, start_response)

    limited = build(SizeLimit, app)
    answer = wrapped(limited, **{"method": "PUT", "CONTENT_LENGTH": "1", "wsgi.input": Input()})
    assert answer.body == b"sent"


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
def test_a_fault_of_the_application_is_a_page_for_a_browser(accept):
    body = b'{"itemNotFound": {"code": 404, "message": "no <b>slave</b> 9"}}'
    answer = wrapped(plain(body, "404 Not Found", "application/json"), headers={"Accept": accept})
    assert answer.status == 404
    if accept == "text/html":
        assert answer.headers["Content-Type"].startswith("text/html")
        assert b"no &lt;b&gt;slave&lt;/b&gt; 9" in answer.body
    else:
        assert answer.body == body


def test_json_that_is_no_fault_stays_json_for_a_browser():
    body = b'{"healthy": false, "checks": {}}'
    answer = wrapped(
        plain(body, "503 Service Unavailable", "application/json"), headers={"Accept": "text/html"}
    )
    assert answer.body == body
