"""Output as it happens."""

from __future__ import annotations

import base64
import datetime
import json
import threading
from collections.abc import Iterator

import pytest
import webob

from labapi.db import outputs, testcases
from tests.lab import HOST, Lab, until


def post(lab: Lab, script: str, **more: object) -> str:
    body = {
        "plugin": "linux_system",
        "host": HOST,
        "method": "run_shell",
        "parameters": {"command": "sh", "args": ["-c", script]},
        **more,
    }
    request = webob.Request.blank(
        "/v2.1/testcases",
        method="POST",
        json=body,
        content_type="application/json",
        remote_addr="127.0.0.1",
    )
    response = request.get_response(lab.app)
    assert response.status_code == 202, response.text
    return str(response.json["id"])


def follow(lab: Lab, case: str, query: str = "", accept: str = "text/plain") -> Iterator[bytes]:
    request = webob.Request.blank(
        f"/v2.1/testcases/{case}/output?follow=true{query}",
        remote_addr="127.0.0.1",
        headers={"Accept": accept},
    )
    response = request.get_response(lab.app)
    assert response.status_code == 200
    return response.app_iter


@pytest.fixture(autouse=True)
def no_waiter_is_left(lab: Lab) -> Iterator[None]:
    yield
    until(lambda: not lab.backend.waiters._waiting, what="the end of the last waiter")


def test_it_streams_until_the_case_ends(lab: Lab) -> None:
    case = post(lab, "for n in 1 2 3; do echo $n; sleep 0.8; done")
    stream = iter(follow(lab, case))
    first = next(stream)
    assert lab.database.read(testcases.get, case).state == testcases.RUNNING
    assert first + b"".join(stream) == b"1\n2\n3\n"


def test_a_finished_case_ends_at_once(lab: Lab) -> None:
    case = post(lab, "echo done")
    assert b"".join(follow(lab, case)) == b"done\n"
    assert b"".join(follow(lab, case)) == b"done\n"
    assert b"".join(follow(lab, case, "&offset=2")) == b"ne\n"


def test_binary_output_survives(lab: Lab) -> None:
    case = post(lab, r"printf '\000\377\200\r\n\033[0m'; sleep 0.7; head -c 300000 /dev/zero")
    assert b"".join(follow(lab, case)) == b"\x00\xff\x80\r\n\x1b[0m" + bytes(300_000)


def test_many_followers_at_once(lab: Lab) -> None:
    case = post(lab, "for n in 1 2 3 4; do echo $n; sleep 0.4; done")
    got: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: got.append(b"".join(follow(lab, case)))) for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert got == [b"1\n2\n3\n4\n"] * 30


def test_a_follower_who_goes_away(lab: Lab) -> None:
    case = post(lab, "echo begun; sleep 61", timeout=90)
    stream = follow(lab, case)
    assert next(iter(stream)) == b"begun\n"
    stream.close()  # type: ignore[attr-defined]  # what a server does when its client is gone
    assert not lab.backend.waiters._waiting
    lab.database.write(testcases.request_cancel, case, datetime.datetime.now(datetime.UTC))
    lab.backend.hints.cancel_wanted(case)


def test_server_sent_events(lab: Lab) -> None:
    case = post(lab, r"echo one; sleep 0.8; printf '\377'")
    stream = b"".join(follow(lab, case, accept="text/event-stream")).decode()
    events = [_parsed(block) for block in stream.strip().split("\n\n")]
    kinds = [event["event"] for event in events]
    assert kinds[-1] == "end"
    assert set(kinds[:-1]) == {"output"}
    first, *_, last = events[:-1]
    assert json.loads(first["data"]) == {"offset": 0, "text": "one\n"}
    assert first["id"] == "4"
    assert base64.b64decode(json.loads(last["data"])["base64"]) == b"\xff"
    assert json.loads(events[-1]["data"])["result"] == "PASS"


def test_events_resume_after_the_last_one_seen(lab: Lab) -> None:
    case = post(lab, "echo one; echo two")
    b"".join(follow(lab, case))
    request = webob.Request.blank(
        f"/v2.1/testcases/{case}/output?follow=true",
        remote_addr="127.0.0.1",
        headers={"Accept": "text/event-stream", "Last-Event-ID": "4"},
    )
    event = _parsed(request.get_response(lab.app).text.split("\n\n")[0])
    assert json.loads(event["data"]) == {"offset": 4, "text": "two\n"}


def test_a_gap_is_marked(lab: Lab) -> None:
    case = post(lab, "echo one; echo two; echo three")
    b"".join(follow(lab, case))
    row = lab.database.read(testcases.get, case)
    with lab.database.engine().begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM output_chunks WHERE testcase_id = {row.id}")
        outputs.add(connection, [(row.id, 0, b"one\n"), (row.id, 8, b"three\n")])
    expected = b"one\n\n[4 bytes of output are missing here]\nthree\n"
    assert b"".join(follow(lab, case)) == expected


@pytest.mark.parametrize("query", ["&follow=yes", "&offset=x"])
def test_what_cannot_be_understood(lab: Lab, query: str) -> None:
    case = post(lab, "true")
    url = f"/v2.1/testcases/{case}/output?{query[1:]}"
    response = webob.Request.blank(url, remote_addr="127.0.0.1").get_response(lab.app)
    assert response.status_code == 400


def _parsed(block: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in block.splitlines())
