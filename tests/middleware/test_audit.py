"""audit: a line for each change, whatever becomes of it."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import threading

import pytest

from labapi_middleware.audit import Audit, AuditFile, filter_factory
from labapi_middleware.basic import Basic
from labapi_middleware.filter import OptionError
from labapi_middleware.noauth import NoAuth
from tests.middleware.conftest import build, call, environ, plain, validated


@pytest.fixture(autouse=True)
def _level(caplog):
    caplog.set_level(logging.INFO, "labapi_middleware.audit")


def lines(caplog):
    return [json.loads(r.getMessage()) for r in caplog.records]


def post(app, **request):
    return call(app, environ(**{"method": "POST", "path": "/v2.1/testcases", **request}))


def test_a_change_leaves_a_line(caplog):
    def app(request, start_response):
        request["labapi.audit"] = {"target": "host1", "action": "testcase:create"}
        return plain(status="202 Accepted")(request, start_response)

    post(build(Audit, build(NoAuth, app)), **{"labapi.request_id": "req-1"})
    (line,) = lines(caplog)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert 0 <= line.pop("seconds") < 1
    assert line == {
        "request_id": "req-1",
        "client": "127.0.0.1",
        "user": "noauth",
        "project": "noauth",
        "roles": ["admin", "member", "reader"],
        "method": "POST",
        "path": "/v2.1/testcases",
        "status": 202,
        "outcome": "success",
        "complete": True,
        "target": "host1",
        "action": "testcase:create",
    }


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_leaves_none(caplog, method):
    post(build(Audit, plain()), method=method)
    assert not caplog.records


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "get", "BREW"])
def test_every_other_method_may_change_something(caplog, method):
    post(build(Audit, plain()), method=method)
    assert lines(caplog)[0]["method"] == method


def test_a_refused_login_leaves_a_line(caplog, tmp_path):
    (tmp_path / "htpasswd").write_text("")
    app = build(Audit, build(Basic, plain(), htpasswd_file=str(tmp_path / "htpasswd")))
    assert post(app, headers={"X-User-Id": "root", "X-Identity-Status": "Confirmed"}).status == 401
    (line,) = lines(caplog)
    assert (line["status"], line["outcome"], line["user"]) == (401, "failure", None)


def test_a_request_that_dies_leaves_a_line(caplog):
    def dies(request, start_response):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        post(build(Audit, dies))
    (line,) = lines(caplog)
    assert (line["status"], line["outcome"], line["complete"]) == (500, "failure", False)


def test_an_answer_that_dies_leaves_a_line(caplog):
    def app(request, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"half"
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        post(build(Audit, app))
    (line,) = lines(caplog)
    assert (line["status"], line["outcome"], line["complete"]) == (200, "failure", False)


def test_an_answer_that_is_given_up_leaves_one_line(caplog):
    result = build(Audit, plain())(environ("POST"), lambda *a: None)
    result.close()
    result.close()
    (line,) = lines(caplog)
    assert (line["outcome"], line["complete"]) == ("success", False)


def test_an_application_cannot_replace_facts_or_break_the_line(caplog):
    def app(request, start_response):
        request["labapi.audit"] = {"user": "someone", 5: object(), "long": "x" * 99_999, "n": 1}
        return plain()(request, start_response)

    post(build(Audit, build(NoAuth, app)))
    (line,) = lines(caplog)
    assert line["user"] == "noauth"
    assert line["5"].startswith("<object")
    assert (len(line["long"]), line["n"]) == (1024, 1)

    def senseless(request, start_response):
        request["labapi.audit"] = "text"
        return plain()(request, start_response)

    assert post(build(Audit, senseless)).status == 200


def test_a_client_cannot_forge_a_line(caplog):
    post(build(Audit, plain()), path='/x"}\r\n{"user": "root"\x85', QUERY_STRING="token=s3cret")
    message = caplog.records[0].getMessage()
    assert message.isascii()
    assert message.isprintable()
    assert "s3cret" not in message
    assert lines(caplog)[0]["path"].startswith('/x"}\r\n{')


def test_a_path_is_shown_as_it_is_meant(caplog):
    post(build(Audit, plain()), path="/t\u00e4st".encode().decode("latin-1"))
    assert lines(caplog)[0]["path"] == "/t\u00e4st"


def test_a_file_is_appended_to_and_opened_again(tmp_path):
    path = tmp_path / "audit"
    app = build(Audit, plain(), file=str(path))
    post(app)
    post(app)
    assert len(path.read_text().splitlines()) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.rename(tmp_path / "audit.1")
    post(app)
    assert len(path.read_text().splitlines()) == 1
    path.unlink()
    post(app)
    assert len(path.read_text().splitlines()) == 1


def test_lines_of_several_writers_stay_whole(tmp_path):
    path = str(tmp_path / "audit")
    writers = [AuditFile(path) for _ in range(4)]

    def write(writer):
        for n in range(200):
            writer.write(json.dumps({"n": n, "x": "y" * 5000}))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for writer in writers:
        writer.close()
    with open(path) as file:
        assert len([json.loads(line) for line in file]) == 800


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_line_that_cannot_be_written_is_in_the_log(caplog):
    assert post(build(Audit, plain(), file="/dev/full")).status == 200
    assert '"path": "/v2.1/testcases"' in caplog.text


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path):
    for path in (tmp_path, tmp_path / "none" / "audit"):
        with pytest.raises(OptionError, match="cannot be opened"):
            build(Audit, plain(), file=str(path))


def test_looking_at_the_options_makes_no_file(tmp_path):
    path = tmp_path / "audit"
    wrap = filter_factory({}, file=str(path))
    assert not path.exists()
    wrap(plain())
    assert path.exists()


def test_it_conforms_to_wsgi():
    app = validated(build(Audit, validated(plain())))
    assert post(app, CONTENT_LENGTH="0").body == b"ok"
