"""Output as it happens."""

from __future__ import annotations

import base64
import datetime
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import webob

from labapi.case import State
from labapi.db import attempts, outputs, testcases
from tests.lab import HOST, Gate, Lab, until


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


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def test_it_streams_until_the_case_ends(lab: Lab, gate: Gate) -> None:
    case = post(lab, f"echo 1; {gate.wait}; echo 2; echo 3")
    stream = iter(follow(lab, case))
    assert next(stream) == b"1\n"
    assert lab.database.read(testcases.get, case).state == State.RUNNING
    gate.open()
    assert b"".join(stream) == b"2\n3\n"


def test_a_finished_case_ends_at_once(lab: Lab) -> None:
    case = post(lab, "echo done")
    assert b"".join(follow(lab, case)) == b"done\n"
    assert b"".join(follow(lab, case)) == b"done\n"
    assert b"".join(follow(lab, case, "&offset=2")) == b"ne\n"


def test_binary_output_survives(lab: Lab, gate: Gate) -> None:
    case = post(lab, rf"printf '\000\377\200\r\n\033[0m'; {gate.wait}; head -c 300000 /dev/zero")
    stream = iter(follow(lab, case))
    assert next(stream) == b"\x00\xff\x80\r\n\x1b[0m"
    gate.open()
    assert b"".join(stream) == bytes(300_000)


def test_many_followers_at_once(lab: Lab, gate: Gate) -> None:
    case = post(lab, f"echo 1; {gate.wait}; echo 2; echo 3")
    begun = threading.Barrier(31, timeout=60)
    got: list[bytes] = []

    def read() -> None:
        stream = iter(follow(lab, case))
        first = next(stream)
        begun.wait()
        got.append(first + b"".join(stream))

    threads = [threading.Thread(target=read) for _ in range(30)]
    for thread in threads:
        thread.start()
    begun.wait()
    gate.open()
    for thread in threads:
        thread.join(60)
    assert got == [b"1\n2\n3\n"] * 30


def test_a_follower_who_goes_away(lab: Lab) -> None:
    case = post(lab, "echo begun; sleep 61", timeout=90)
    stream = follow(lab, case)
    assert next(iter(stream)) == b"begun\n"
    stream.close()  # type: ignore[attr-defined]  # what a server does when its client is gone
    assert not lab.backend.waiters._waiting
    lab.database.write(attempts.request_cancel, case, datetime.datetime.now(datetime.UTC))
    lab.backend.hints.cancel_wanted(case)


def test_a_text_that_ends_before_its_case_says_so(lab: Lab, gate: Gate) -> None:
    case = post(lab, f"echo begun; {gate.wait}")
    lab.conf.set_override("max_follow", 1, "api")
    try:
        text = b"".join(follow(lab, case))
    finally:
        lab.conf.clear_override("max_follow", "api")
        gate.open()
    assert text.startswith(b"begun\n\n[this text ends early, ask for the rest from offset 6 on: ")


def test_server_sent_events(lab: Lab, gate: Gate) -> None:
    case = post(lab, rf"echo one; {gate.wait}; printf '\377'")
    stream = iter(follow(lab, case, accept="text/event-stream"))
    begun = next(stream)
    gate.open()
    text = (begun + b"".join(stream)).decode()
    # What begins with a colon only shows that the stream is alive.
    blocks = [block for block in text.strip().split("\n\n") if not block.startswith(":")]
    first, second, end = map(_parsed, blocks)
    assert [event["event"] for event in (first, second, end)] == ["output", "output", "end"]
    assert json.loads(first["data"]) == {"offset": 0, "text": "one\n"}
    assert first["id"] == "4"
    assert base64.b64decode(json.loads(second["data"])["base64"]) == b"\xff"
    assert json.loads(end["data"])["result"] == "PASS"


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


def test_events_of_a_case_that_runs_end_with_what_there_is(lab: Lab, gate: Gate) -> None:
    case = post(lab, f"echo one; {gate.wait}")
    next(iter(follow(lab, case)))
    request = webob.Request.blank(
        f"/v2.1/testcases/{case}/output",
        remote_addr="127.0.0.1",
        headers={"Accept": "text/event-stream"},
    )
    output, end = map(_parsed, request.get_response(lab.app).text.strip().split("\n\n"))
    gate.open()
    assert json.loads(output["data"]) == {"offset": 0, "text": "one\n"}
    assert json.loads(end["data"])["state"] == "running"


def test_no_event_brings_much(lab: Lab) -> None:
    text = "ä€😀x" * 3000
    case = post(lab, f"printf %s '{text}'; printf '\\377%.0s' $(seq 3000); head -c 3000 /dev/zero")
    b"".join(follow(lab, case))
    blocks = b"".join(follow(lab, case, accept="text/event-stream")).decode().strip().split("\n\n")
    events = [_parsed(block) for block in blocks if "event: output" in block]
    pieces = [json.loads(event["data"]) for event in events]
    got = [
        base64.b64decode(piece["base64"]) if "base64" in piece else piece["text"].encode()
        for piece in pieces
    ]
    assert b"".join(got) == text.encode() + b"\xff" * 3000 + bytes(3000)
    assert max(map(len, got)) <= 1024
    assert max(map(len, blocks)) <= 2200
    assert [int(event["id"]) for event in events] == [
        piece["offset"] + len(data) for piece, data in zip(pieces, got, strict=True)
    ]
    # No character is split, so all that is text is given as text.
    assert "".join(piece.get("text", "") for piece in pieces).startswith(text[:-400])


def test_a_gap_is_marked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.backend.output, "_patience", 0.0)
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
