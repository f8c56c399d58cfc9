"""Large test plans are accepted at a bounded cost."""

from __future__ import annotations

import threading
import time
from typing import Any

import sqlalchemy
import webob
from sqlalchemy import event

from tests.lab import HOST, Lab, ask


def plan(count: int, **entry: Any) -> dict[str, Any]:
    case = {"plugin": "linux_system", "method": "run_shell", **entry}
    numbered = {
        str(number): {**case, "parameters": {"command": "true", "args": f"{number}"}}
        for number in range(1, count + 1)
    }
    return {"name": "large", "testplan": {"1": {"Parallel-Step-1": numbered}}}


def statements(lab: Lab, document: dict[str, Any]) -> int:
    """Return how many statements the dry run of a plan takes."""
    count, thread = 0, threading.get_ident()

    def note(*_: Any) -> None:
        nonlocal count
        count += threading.get_ident() == thread

    event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    try:
        answer = ask(lab.app, "/testplans?dry_run=true", document)
    finally:
        event.remove(sqlalchemy.Engine, "before_cursor_execute", note)
    assert answer.status_int == 200, answer.text[:500]
    return count


def test_statements_do_not_grow_with_the_entries(lab: Lab) -> None:
    for entry in ({"host": HOST}, {"host": "192.0.2.10"}, {"requires": ["!broken"]}):
        assert statements(lab, plan(300, **entry)) < 20  # most of them read the hosts' states


def test_10_000_entries_are_checked_in_time(lab: Lab) -> None:
    def check(count: int) -> float:
        """Return how long it takes, in seconds of the processor."""
        document = plan(count, host="nowhere")
        began = time.thread_time()
        answer = ask(lab.app, "/testplans", document)
        took = time.thread_time() - began
        assert answer.status_int == 400
        assert len(answer.json["badRequest"]["errors"]) == 101
        assert answer.json["badRequest"]["errors"][-1] == f"and {count - 100} more"
        return took

    check(1000)  # what is done once is done now
    few = min(check(1000) for _ in range(3))
    took = check(10_000)
    # Ten times as long on any machine; if entries were compared with one another, a hundred times.
    assert took < 30 * few
    assert took < 15  # a tenth of that on a machine that has nothing else to do


def test_what_is_larger_than_a_plan_may_be_is_not_read(lab: Lab) -> None:
    class Untouchable:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError("it was read")

    for path, length in (("/testplans", 100_000_000), ("/testcases", 2_000_000)):
        request = webob.Request.blank(f"/v2.1{path}", method="POST", remote_addr="127.0.0.1")
        request.environ |= {"wsgi.input": Untouchable(), "CONTENT_LENGTH": str(length)}
        request.content_type = "application/json"
        assert request.get_response(lab.app).status_int == 413


def test_a_plan_is_bounded_whatever_the_filters_allow(lab: Lab) -> None:
    request = webob.Request.blank("/v2.1/testplans", method="POST", remote_addr="127.0.0.1")
    request.content_type = "application/yaml"
    request.body = b"a: " + b"x" * 6 * 1024 * 1024
    answer = request.get_response(lab.app)
    assert answer.status_int == 413
