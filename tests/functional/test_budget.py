"""What requests and cases cost in statements, commits and messages, against ``budget.toml``."""

from __future__ import annotations

import json
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import webob
from kombu import Producer
from sqlalchemy import event

from tests.lab import Lab

BUDGET = tomllib.loads(Path(__file__).with_name("budget.toml").read_text())
KINDS = ("statements", "commits", "messages", "journal")
QUIET = 0.3  # seconds without anything new, after which everything has been done
ROUNDS = 3

CASE = {
    "plugin": "linux_system",
    "host": "lab-1",
    "method": "run_shell",
    "parameters": {"command": "echo", "args": "hello"},
}


class Count:
    """Counts what goes to databases and broker while it is installed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counted: Counter[str] = Counter()

    def note(self, kind: str) -> None:
        with self._lock:
            self.counted[kind] += 1

    def statement(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("BEGIN"):
            return
        self.note("statements")
        # Outside a transaction what changes something is one by itself.
        if connection._is_autocommit_isolation() and not statement.startswith("SELECT"):
            self.note("commits")

    def commit(self, _connection: Any) -> None:
        self.note("commits")

    def of(self, work: Callable[[], object]) -> dict[str, int]:
        """Return what a piece of work costs, everything included that follows from it.

        The least of a few times: a slow machine adds looks at what has not come yet.
        """
        counts = [self._once(work) for _ in range(ROUNDS)]
        return {kind: min(count[kind] for count in counts) for kind in KINDS}

    def _once(self, work: Callable[[], object]) -> Counter[str]:
        self._settle()
        before = self.counted.copy()
        work()
        self._settle()
        return self.counted - before

    def _settle(self) -> None:
        seen, since = self.counted.copy(), time.monotonic()
        while time.monotonic() - since < QUIET:
            time.sleep(0.02)
            if self.counted != seen:
                seen, since = self.counted.copy(), time.monotonic()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab in which nothing happens by itself for the time of the tests."""
    lab = Lab(
        tmp_path_factory.mktemp("lab"),
        conductor__sweep_interval=600.0,
        agent__heartbeat_interval=600.0,
    ).start()
    yield lab
    lab.stop()


@pytest.fixture(scope="module")
def count(lab: Lab) -> Iterator[Count]:
    count = Count()
    publish = Producer.publish

    def counted(*args: Any, **kwargs: Any) -> Any:
        count.note("messages")
        return publish(*args, **kwargs)

    assert lab.agent is not None
    lab.agent._journal._db.set_trace_callback(lambda _: count.note("journal"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Producer, "publish", counted)
        event.listen(sqlalchemy.Engine, "before_cursor_execute", count.statement)
        event.listen(sqlalchemy.Engine, "commit", count.commit)
        run(lab)  # what is done once is done now
        yield count
    lab.agent._journal._db.set_trace_callback(None)
    event.remove(sqlalchemy.Engine, "commit", count.commit)
    event.remove(sqlalchemy.Engine, "before_cursor_execute", count.statement)


def ask(lab: Lab, path: str, body: dict[str, Any] | None = None) -> Any:
    request = webob.Request.blank(path, environ={"REMOTE_ADDR": "127.0.0.1"})
    if body is not None:
        request.method, request.content_type = "POST", "application/json"
        request.body = json.dumps(body).encode()
    answer = request.get_response(lab.app)
    assert answer.status_int == 200, answer.text
    return answer.json


def run(lab: Lab) -> str:
    case = ask(lab, "/v2.1/testcases?wait=30", CASE)
    assert (case["result"], case["output"]) == ("PASS", "hello\n")
    return str(case["id"])


def test_requests(lab: Lab, count: Count) -> None:
    case = run(lab)
    for what, path in (
        ("GET /v2.1/slaves/{id}", "/v2.1/slaves/1"),
        ("GET /v2.1/testcases/{id}", f"/v2.1/testcases/{case}"),
        ("GET /v2.1/testcases", "/v2.1/testcases"),
    ):
        assert count.of(lambda path=path: ask(lab, path)) == BUDGET[what], what


def test_a_case(lab: Lab, count: Count) -> None:
    assert count.of(lambda: run(lab)) == BUDGET["a case from POST to result"]
