"""The tree of a plan on a terminal, and what is left out where there is no room."""

from __future__ import annotations

import datetime
import io

import pytest

from labapi_client.cli.plan_watch import fitting, tree
from labapi_client.cli.terminal import Block, StatusLine
from labapi_client.plan_tree import Plan

BEGUN = datetime.datetime(2026, 11, 21, 8, tzinfo=datetime.UTC)


def node(state: str, result: str | None = None, **counts: int) -> dict[str, object]:
    return {"DESCRIPTION": None, "state": state, "result": result, "counts": counts}


def plan(steps: int = 1) -> Plan:
    entry = {
        "input": {"plugin": "http", "method": "get", "host": "lab-1"},
        "output": {"result": None},
        "state": "running",
    }
    testplan = {
        "1": {
            **node("finished", "PASS", PASS=2),
            "Serial-Step-1": node("finished", "PASS", PASS=2),
        },
        "2": {
            **node("finished", "FAIL", FAIL=1),
            "Serial-Step-1": node("finished", "FAIL", FAIL=1),
        },
        "3": {
            **node("running", running=1, queued=2),
            "Parallel-Step-1": {**node("running", running=1), "1": entry},
            **{f"Serial-Step-{n}": node("queued", queued=1) for n in range(steps)},
        },
    }
    return Plan(
        id="p",
        name="all",
        state="running",
        started_at=BEGUN,
        finished_at=BEGUN + datetime.timedelta(seconds=9),
        counts={"PASS": 2, "FAIL": 1, "running": 1, "queued": 0},
        testplan=testplan,
    )


def test_a_tree() -> None:
    assert [line.text for line in tree(plan())] == [
        "all: running, 9 s (2 PASS, 1 FAIL, 1 running)",
        "  1: PASS (2 PASS)",
        "    Serial-Step-1: PASS (2 PASS)",
        "  2: FAIL (1 FAIL)",
        "    Serial-Step-1: FAIL (1 FAIL)",
        "  3: running (1 running, 2 queued)",
        "    Parallel-Step-1: running (1 running)",
        "      1: http.get on lab-1, waits",
        "    Serial-Step-0: queued (1 queued)",
    ]


def test_what_runs_and_what_failed_is_left_out_last() -> None:
    assert fitting(tree(plan(100)), 8) == [
        "all: running, 9 s (2 PASS, 1 FAIL, 1 running)",
        "  1: PASS (2 PASS)",
        "  2: FAIL (1 FAIL)",
        "    Serial-Step-1: FAIL (1 FAIL)",
        "  3: running (1 running, 2 queued)",
        "    Parallel-Step-1: running (1 running)",
        "      1: http.get on lab-1, waits",
        "  … 101 lines more",
    ]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_block_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    monkeypatch.setenv("LINES", "3")
    screen = Screen()
    block = Block(screen)
    block.show(["one\x1b[31m", "two is too long"])
    block.show(["three"])
    block.clear()
    block.clear()
    up = "\r\x1b[{}A\x1b[J"
    assert screen.getvalue() == f"one?[31m\ntwo is to\n{up.format(2)}three\n{up.format(1)}"
    assert block.room == 2


def test_no_block_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    Block(stream).show(["one"])
    Block(Screen(), on=False).show(["one"])
    assert stream.getvalue() == ""


@pytest.mark.parametrize("line", [StatusLine, Block])
def test_what_cannot_be_written_over_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, line: type[StatusLine] | type[Block]
) -> None:
    monkeypatch.setattr("labapi_client.cli.terminal.is_terminal", lambda _: True)
    for term, on in (("xterm", True), ("dumb", False)):
        monkeypatch.setenv("TERM", term)
        assert line(io.StringIO()).on is on
