"""sizelimit: 413 by length or by counting, before the application pays for it."""

from __future__ import annotations

import io

import pytest

from labapi_middleware.filter import OptionError
from labapi_middleware.sizelimit import SizeLimit
from tests.middleware.conftest import build, call, environ, plain, validated


def reading(how):
    def app(request, start_response):
        return plain(str(len(how(request["wsgi.input"]))).encode())(request, start_response)

    return app


def read_all(stream):
    return stream.read()


def sized(app, size="10"):
    return build(SizeLimit, app, max_request_body_size=size)


def chunked(body: bytes):
    return environ(
        "POST",
        HTTP_TRANSFER_ENCODING="chunked",
        CONTENT_LENGTH="",
        **{"wsgi.input": io.BytesIO(body)},
    )


def test_a_length_over_the_limit_is_refused_unread(recorder):
    class Untouchable:
        def __getattr__(self, name):
            raise AssertionError(name)

    request = environ("POST", CONTENT_LENGTH="11", **{"wsgi.input": Untouchable()})
    answer = call(sized(recorder), request)
    assert answer.status == 413
    assert answer.fault[0] == "overLimit"
    assert "10 bytes" in answer.fault[1]["message"]
    assert recorder.calls == 0


def test_the_limit_itself_is_allowed():
    assert call(sized(reading(read_all)), environ("POST", body=b"x" * 10)).body == b"10"
    assert call(sized(reading(read_all)), chunked(b"x" * 10)).body == b"10"


@pytest.mark.parametrize(
    "how",
    [
        read_all,
        lambda s: s.read(None),
        lambda s: s.read(-1),
        lambda s: s.read(1000),
        lambda s: s.readline() + s.readline(),
        lambda s: b"".join(s.readlines()),
        lambda s: b"".join(iter(lambda: s.read(3), b"")),
        lambda s: b"".join(s),
        lambda s: s.readline(5) + s.readline() + s.readline(50),
    ],
)
def test_a_chunked_body_is_counted_however_it_is_read(how):
    answer = call(sized(reading(how)), chunked(b"12345\n" + b"x" * 5))
    assert answer.status == 413
    assert call(sized(reading(how)), chunked(b"12345\nabcd")).body == b"10"


def test_a_length_beside_chunked_means_nothing():
    request = chunked(b"x" * 11)
    request["CONTENT_LENGTH"] = "5"
    assert call(sized(reading(read_all)), request).status == 413


def test_an_answer_that_was_begun_is_replaced():
    def app(request, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [request["wsgi.input"].read()]

    assert call(sized(app), chunked(b"x" * 11)).status == 413


@pytest.mark.parametrize(
    "length", ["-1", "+5", " 5", "5_0", "0x5", "five", "5,5", "9" * 5000, "\u0665", "1e3", "5.0"]
)
def test_a_length_that_is_no_number_is_refused(length, recorder):
    answer = call(sized(recorder), environ("POST", CONTENT_LENGTH=length))
    assert answer.status == 400
    assert answer.fault[0] == "badRequest"
    assert recorder.calls == 0


def test_a_body_in_small_pieces_is_read_to_its_end():
    class Pieces:
        def __init__(self):
            self.left = 9

        def read(self, size=-1):
            self.left -= 1
            return b"x" if self.left >= 0 else b""

    request = chunked(b"")
    request["wsgi.input"] = Pieces()
    assert call(sized(reading(read_all)), request).body == b"9"


def test_a_limit_that_is_no_number_stops_the_start():
    for size in ("-1", "1MB", ""):
        with pytest.raises(OptionError, match="max_request_body_size"):
            sized(plain(), size)


def test_some_urls_take_more():
    app = build(
        SizeLimit, reading(read_all), max_request_body_size="5", larger_bodies="/v2/plans 9, /x 7"
    )
    allowed = {"/plans": 9, "/plans/": 9, "/plans/1": 5, "/x": 5, "/plansx": 5}
    for path, most in allowed.items():
        for size, status in ((most, 200), (most + 1, 413)):
            for request in (environ("POST", body=b"x" * size), chunked(b"x" * size)):
                answer = call(app, request | {"SCRIPT_NAME": "/v2", "PATH_INFO": path})
                assert answer.status == status, (path, size)
                if size > most:
                    assert f"the limit is {most} bytes" in answer.body.decode()


def test_urls_that_are_none_stop_the_start():
    for value in ("/plans", "plans 9", "/plans 9MB", "/plans -1", "9"):
        with pytest.raises(OptionError, match=r"larger_bodies.* such as /v2.1/testplans 6291456"):
            build(SizeLimit, plain(), larger_bodies=value)


def test_it_conforms_to_wsgi():
    app = validated(sized(validated(reading(lambda s: s.read(5)))))
    assert call(app, environ("POST", body=b"12345", QUERY_STRING="")).body == b"5"
