"""Output that reaches the database after the end of its case, or not at all, or anew."""

from __future__ import annotations

import datetime
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import webob

from labapi.conductor.reports import Reports
from labapi.db import attempts, testcases
from labapi.exceptions import DatabaseUnavailable
from labapi.rpc.messages import CaseResult, Output
from labapi.rpc.publisher import Publisher
from tests.hosts import RUN_SHELL, announce, beat
from tests.lab import Lab, until, wait_again

FIRST, LAST = b"x" * 100_000, b"the end\n"
WHOLE = FIRST + LAST
GAP = b"\n[%d bytes of output are missing here]\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose host's agent is the test; nothing that it sends counts as lost too early."""
    options = {"api__output_patience": 600.0, "api__inline_output": 2 * len(WHOLE)}
    lab = Lab(tmp_path_factory.mktemp("lab"), **options).start(agent=False)
    yield lab
    lab.stop()


@pytest.fixture
def host(lab: Lab) -> str:
    name = announce(lab.database, f"host-{uuid.uuid4().hex[:8]}", plugins=RUN_SHELL)
    beat(lab.database, name)
    return name


class Conductor:
    """One of several conductors, as far as it takes in reports."""

    def __init__(self, lab: Lab) -> None:
        publisher = Publisher(lab.transport, confirm=False)
        self.handle = Reports(lab.conf, lab.database, publisher, lambda *_: None).handle


@pytest.fixture
def one(lab: Lab) -> Conductor:
    return Conductor(lab)


@pytest.fixture
def other(lab: Lab) -> Conductor:
    return Conductor(lab)


def ask(lab: Lab, path: str, **more: Any) -> webob.Response:
    request = webob.Request.blank(f"/v2.1/testcases{path}", remote_addr="127.0.0.1", **more)
    return request.get_response(lab.app)


def post(lab: Lab, host: str, query: str = "", **headers: str) -> webob.Response:
    body = {"plugin": "linux_system", "host": host, "method": "run_shell"}
    return ask(
        lab, query, method="POST", json=body, content_type="application/json", headers=headers
    )


def attempt_of(lab: Lab, host: str) -> dict[str, str]:
    """Return what names the attempt that a host was given, as soon as it was."""
    case, attempt, _ = until(
        lambda: next(iter(lab.database.read(attempts.current_on, [host])), None)
    )
    return {"case": case, "attempt": attempt, "host": host}


def piece(named: dict[str, str], offset: int, data: bytes) -> Output:
    return Output(**named, offset=offset, data=data)


def end(named: dict[str, str], **more: Any) -> CaseResult:
    values = {"output_offset": len(FIRST), "output": LAST, "output_size": len(WHOLE), **more}
    return CaseResult(**named, result="PASS", **values)


def missed(lab: Lab, named: dict[str, str]) -> bool:
    """Say whether some reader has missed output of this case."""
    row = lab.database.read(testcases.get, named["case"])
    return any(case == row.id for case, *_ in lab.backend.output._missed_since)


def late(
    lab: Lab, one: Conductor, other: Conductor, named: dict[str, str], read: Callable[[], Any]
) -> Any:
    """Let a case end, begin to read, and deliver its first piece when the reader misses it."""
    with ThreadPoolExecutor(1) as pool:
        one.handle([end(named)])
        answer: Future[Any] = pool.submit(read)
        until(lambda: missed(lab, named) or answer.done())
        other.handle([piece(named, 0, FIRST)])
        return answer.result(60)


def test_who_waits_gets_all(lab: Lab, host: str, one: Conductor, other: Conductor) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, lab, host, "?wait=60")
        named = attempt_of(lab, host)
        one.handle([end(named)])
        until(lambda: missed(lab, named) or answer.done())
        other.handle([piece(named, 0, FIRST)])
        shown = answer.result(60)
    assert (shown.status_code, shown.json["result"]) == (200, "PASS")
    assert shown.json["output"] == WHOLE.decode()


def test_who_waits_too_short_is_not_told_that_it_is_finished(
    lab: Lab, host: str, one: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labapi.api.endings.OUTPUT_GRACE", -600.0)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, lab, host, "?wait=60")
        one.handle([end(attempt_of(lab, host))])
        shown = answer.result(60)
    assert shown.status_code == 202
    assert shown.json["state"] != "finished"
    assert shown.json["result"] is None


def test_who_asks_again_and_waits_too_short_may_come_back(
    lab: Lab, host: str, one: Conductor, other: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"Idempotency-Key": host}
    post(lab, host, **key)
    named = attempt_of(lab, host)
    one.handle([end(named)])
    monkeypatch.setattr("labapi.api.controllers.testcases.OUTPUT_GRACE", -600.0)
    assert post(lab, host, "?wait=60", **key).status_code == 503
    other.handle([piece(named, 0, FIRST)])
    assert post(lab, host, "?wait=60", **key).json["output"] == WHOLE.decode()


def test_who_asks_gets_all(lab: Lab, host: str, one: Conductor, other: Conductor) -> None:
    case = post(lab, host).json["id"]
    named = attempt_of(lab, host)
    shown = late(lab, one, other, named, lambda: ask(lab, f"/{case}"))
    assert shown.json["output"] == WHOLE.decode()


@pytest.mark.parametrize("query", ["", "?follow=true"])
def test_the_text_is_whole(
    lab: Lab, host: str, one: Conductor, other: Conductor, query: str
) -> None:
    case = post(lab, host).json["id"]
    named = attempt_of(lab, host)
    text = late(lab, one, other, named, lambda: ask(lab, f"/{case}/output{query}").body)
    assert text == WHOLE


def test_a_running_case_is_shown_as_far_as_it_has_come(lab: Lab, host: str, one: Conductor) -> None:
    case = post(lab, host).json["id"]
    named = attempt_of(lab, host)
    one.handle([piece(named, 0, b"one"), piece(named, 6, b"three")])
    assert ask(lab, f"/{case}/output").body == b"one"
    assert ask(lab, f"/{case}").json["output"] == "one"


def test_what_does_not_come_is_lost(
    lab: Lab, host: str, one: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab.backend.output, "_patience", 0.3)
    case = post(lab, host).json["id"]
    one.handle([end(attempt_of(lab, host))])
    for query in ("", "?follow=true"):
        assert ask(lab, f"/{case}/output{query}").body == GAP % len(FIRST) + LAST


def test_what_the_agent_has_cut_off_is_not_waited_for(lab: Lab, host: str, one: Conductor) -> None:
    case = post(lab, host).json["id"]
    named = attempt_of(lab, host)
    one.handle([piece(named, 0, FIRST), end(named, output_size=10**9)])
    expected = WHOLE + GAP % (10**9 - len(WHOLE))
    assert ask(lab, f"/{case}/output").body == expected
    assert ask(lab, f"/{case}/output?follow=true").body == expected


def test_a_case_that_is_lost_is_not_waited_for(lab: Lab, host: str, one: Conductor) -> None:
    case = post(lab, host).json["id"]
    named = attempt_of(lab, host)
    one.handle([piece(named, 5, b"world\n")])
    now = datetime.datetime.now(datetime.UTC)
    lost = {"states": ("running",), "result": "ERROR", "reason": "agent_lost", "detail": "lost"}
    lab.database.write(attempts.finish, [case], now, **lost)
    assert ask(lab, f"/{case}/output").body == GAP % 5 + b"world\n"


def test_several_conductors_and_many_cases(lab: Lab, host: str) -> None:
    """Reports that travel through three conductors, in whatever order they come."""
    conductors = [Conductor(lab) for _ in range(3)]
    with ThreadPoolExecutor(16) as pool:
        for _ in range(4):
            answers = [pool.submit(post, lab, host, "?wait=60") for _ in range(4)]
            cases = until(
                lambda: len(found := lab.database.read(attempts.current_on, [host])) == 4 and found
            )
            reports = []
            for case, attempt, _ in cases:
                named = {"case": case, "attempt": attempt, "host": host}
                reports += [[piece(named, 0, FIRST)], [end(named)]]
            for number, report in enumerate(reports):
                pool.submit(conductors[number % 3].handle, report)
            for answer in answers:
                assert answer.result(60).json["output"] == WHOLE.decode()


def events(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.strip().split("\n\n") if not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


@pytest.fixture
def rerun(lab: Lab, host: str, one: Conductor) -> Callable[[], dict[str, str]]:
    """Return what has the case of a host run again, which has written WHOLE."""

    def again() -> dict[str, str]:
        named = attempt_of(lab, host)
        row = lab.database.read(testcases.get, named["case"])
        wait_again(lab.database, row.uuid, "its agent was lost")
        lab.conductor._threads[0]._dispatcher.dispatch([host])  # type: ignore[union-attr]
        return attempt_of(lab, host)

    return again


@pytest.mark.parametrize("accept", ["text/plain", "text/event-stream"])
def test_a_case_that_runs_again_is_followed_from_its_new_beginning(
    lab: Lab, host: str, one: Conductor, rerun: Callable[[], dict[str, str]], accept: str
) -> None:
    case = post(lab, host).json["id"]
    one.handle([piece(attempt_of(lab, host), 0, b"before\n")])
    response = ask(lab, f"/{case}/output?follow=true", headers={"Accept": accept})
    stream = iter(response.app_iter)
    first = next(stream)
    assert b"before" in first
    named = rerun()
    one.handle([end(named, output_offset=0, output=b"after\n", output_size=6)])
    rest = b"".join(stream)
    if accept == "text/plain":
        assert rest == b"\n[the case runs again; its output begins anew]\nafter\n"
        return
    again, output, last = events(rest.decode())
    assert (again["event"], json.loads(again["data"])) == ("again", {"attempt": 2})
    assert json.loads(output["data"]) == {"offset": 0, "text": "after\n"}
    assert output["id"] == "2:6"
    assert json.loads(last["data"])["result"] == "PASS"
    for seen, expected in (("7", ["again", "output", "end"]), ("2:6", ["end"])):
        headers = {"Accept": accept, "Last-Event-ID": seen}
        resumed = ask(lab, f"/{case}/output?follow=true", headers=headers).text
        assert [event["event"] for event in events(resumed)] == expected


def test_what_one_attempt_lacked_is_not_held_against_the_next(
    lab: Lab, host: str, one: Conductor, rerun: Callable[[], dict[str, str]]
) -> None:
    case = post(lab, host).json["id"]
    one.handle([piece(attempt_of(lab, host), 5, b"world")])
    assert ask(lab, f"/{case}/output").body == b""
    missed = lab.backend.output._missed_since
    missed.update(dict.fromkeys(missed, -1e9))  # long ago
    assert ask(lab, f"/{case}/output").body == GAP % 5 + b"world"
    one.handle([piece(rerun(), 5, b"world")])
    assert ask(lab, f"/{case}/output").body == b""


@pytest.mark.parametrize("accept", ["text/plain", "text/event-stream"])
def test_a_database_that_goes_away_ends_a_stream(
    lab: Lab, host: str, one: Conductor, accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = post(lab, host).json["id"]
    one.handle([piece(attempt_of(lab, host), 0, b"before\n")])
    stream = iter(ask(lab, f"/{case}/output?follow=true", headers={"Accept": accept}).app_iter)
    assert b"before" in next(stream)
    away = threading.Event()
    read = lab.database.read

    def failing(*args: Any, **kwargs: Any) -> Any:
        if away.is_set():
            raise DatabaseUnavailable("the database is away")
        return read(*args, **kwargs)

    monkeypatch.setattr(lab.database, "read", failing)
    away.set()
    rest = b"".join(stream).decode()
    if accept == "text/plain":
        line = "this text ends early, ask for the rest from offset 7 on: the database is away"
        assert rest == f"\n[{line}]\n"
    else:
        assert events(rest) == [
            {"event": "error", "data": json.dumps({"message": "the database is away"})}
        ]


@pytest.mark.parametrize("query", ["", "?follow=true"])
def test_a_database_that_is_away_at_the_first_look_is_a_503(
    lab: Lab, host: str, one: Conductor, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = post(lab, host).json["id"]
    one.handle([piece(attempt_of(lab, host), 0, b"before\n")])

    def away(*_: Any) -> Any:
        raise DatabaseUnavailable("the database is away")

    monkeypatch.setattr("labapi.db.outputs.read", away)
    answer = ask(lab, f"/{case}/output{query}")
    assert answer.status_code == 503
    assert answer.json["serviceUnavailable"]["message"] == "the database is away"
