"""``lab`` as a program: in a terminal, in a pipe, and when it is interrupted."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pexpect
import pytest

from labapi_client.cli import interrupts
from labapi_client.cli.program import main
from labapi_client.exceptions import Unavailable
from tests.client.cli.conftest import Type
from tests.client.conftest import Served
from tests.lab import HOST, Gate, until
from tests.programs import BIN

TIMEOUT = 60
LAB = str(BIN / "lab")


@pytest.fixture
def environment(served: Served, type_: Type) -> dict[str, str]:
    """Return an environment in which ``lab`` finds the lab."""
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "xterm"}


class Terminal:
    """Commands that somebody types."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._all: list[pexpect.spawn] = []

    def type(self, *words: str) -> pexpect.spawn:
        child = pexpect.spawn(
            LAB,
            list(words),
            env=self._environment,
            timeout=TIMEOUT,
            encoding="utf-8",
            dimensions=(24, 200),
        )
        self._all.append(child)
        return child

    def close(self) -> None:
        for child in self._all:
            child.close(force=True)


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Terminal]:
    found = Terminal(environment)
    yield found
    found.close()


def ended(child: pexpect.spawn) -> int:
    child.expect(pexpect.EOF)
    child.wait()
    return int(child.exitstatus)


def wait_at(gate: Gate) -> tuple[str, ...]:
    return ("run", HOST, "--", "sh", "-c", f"echo begun; {gate.wait}; echo done")


def test_ctrl_c_and_yes_cancels(terminal: Terminal, tmp_path: Path) -> None:
    child = terminal.type(*wait_at(Gate(tmp_path / "gate")))
    child.expect("begun")
    child.sendintr()
    child.expect(r"Cancel case [0-9a-f-]{36}\?")
    child.sendline("y")
    child.expect("CANCELLED")
    assert ended(child) == 4


def test_ctrl_c_and_no_goes_on(terminal: Terminal, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    child = terminal.type(*wait_at(gate))
    child.expect("begun")
    child.sendintr()
    child.expect("Cancel case")
    child.sendline("")
    gate.open()
    child.expect("done")
    child.expect("PASS")
    assert ended(child) == 0


def test_a_second_ctrl_c_leaves_it_running(terminal: Terminal, tmp_path: Path, type_: Type) -> None:
    gate = Gate(tmp_path / "gate")
    child = terminal.type(*wait_at(gate))
    child.expect("begun")
    child.sendintr()
    child.expect("Cancel case")
    child.sendintr()
    child.expect("'lab testcase wait --output ([0-9a-f-]{36})' comes back")
    case = child.match[1]
    assert ended(child) == 130
    assert type_("testcase", "show", case, "-f", "json").json()["state"] == "running"
    gate.open()
    assert type_("testcase", "wait", "--output", case).out == "begun\ndone\n"


def test_a_case_that_cannot_be_cancelled_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Command:
        app = SimpleNamespace(stderr=io.StringIO())

        def failed(self, text: str) -> None:
            self.app.stderr.write(text)

    def cancel() -> None:
        raise Unavailable("the database is away")

    monkeypatch.setattr(interrupts, "interactive", lambda: True)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    interrupts.Interrupts(Command(), "case 1", cancel, lambda: None).ask()
    text = Command.app.stderr.getvalue()
    assert text.endswith("not cancelled, it goes on: the database is away")


def test_a_terminal_shows_the_time(terminal: Terminal, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    child = terminal.type(*wait_at(gate))
    child.expect(rf"\d+ s: linux_system.run_shell on {HOST}")
    gate.open()
    child.expect("done\r\n")
    assert ended(child) == 0


def test_a_terminal_shows_why_it_waits(terminal: Terminal, type_: Type) -> None:
    type_("service", "disable", HOST)
    try:
        child = terminal.type("run", HOST, "--", "true")
        child.expect(rf"\d+ s: waits for {HOST}")
    finally:
        type_("service", "enable", HOST)
    child.expect("PASS")
    assert ended(child) == 0


def plan_of(folder: Path, *scripts: str) -> tuple[str, ...]:
    """Return the words that run a plan whose entries run at the same time."""
    entries = {
        str(n): {
            **{"plugin": "linux_system", "host": HOST, "method": "run_shell"},
            "parameters": {"command": "sh", "args": ["-c", script]},
        }
        for n, script in enumerate(scripts, 1)
    }
    file = folder / "plan.json"
    file.write_text(json.dumps({"name": "all", "testplan": {"1": {"Parallel-Step-1": entries}}}))
    return ("plan", "run", str(file))


def test_a_terminal_shows_a_plan_as_a_tree(terminal: Terminal, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    child = terminal.type(*plan_of(tmp_path, gate.wait, "exit 1"))
    child.expect("FAIL: 1/Parallel-Step-1/2 linux_system.run_shell on lab-1, .*exit code 1")
    child.expect(r"all: running, \d+ s \(1 FAIL, 1 running\)\r\n")
    child.expect(r"  1: running \(1 FAIL, 1 running\)\r\n")
    child.expect(r"    Parallel-Step-1: running \(1 FAIL, 1 running\)\r\n")
    child.expect(rf"      1: linux_system.run_shell on {HOST}, \d+ s\r\n")
    child.expect_exact("\r\x1b[4A\x1b[J")  # it is written over
    gate.open()
    child.expect(r"all: FAIL, \d+ s \(1 PASS, 1 FAIL\)\r\n  1: FAIL \(1 PASS, 1 FAIL\)\r\n")
    child.expect(r"FAIL: all \(1 PASS, 1 FAIL\), .* \[plan [0-9a-f-]{36}\]")
    assert ended(child) == 1


def test_ctrl_c_and_yes_cancels_a_plan(terminal: Terminal, tmp_path: Path) -> None:
    child = terminal.type(*plan_of(tmp_path, Gate(tmp_path / "gate").wait))
    child.expect(r"1: linux_system.run_shell")
    child.sendintr()
    child.expect(r"Cancel plan [0-9a-f-]{36}\?")
    child.sendline("y")
    child.expect(r"CANCELLED: all")
    assert ended(child) == 4


def test_a_second_ctrl_c_leaves_a_plan_running(
    terminal: Terminal, tmp_path: Path, type_: Type
) -> None:
    gate = Gate(tmp_path / "gate")
    child = terminal.type(*plan_of(tmp_path, gate.wait))
    child.expect(r"1: linux_system.run_shell")
    child.sendintr()
    child.expect("Cancel plan")
    child.sendintr()
    child.expect("'lab plan wait ([0-9a-f-]{36})' comes back")
    plan = child.match[1]
    assert ended(child) == 130
    assert type_("plan", "show", plan, "-f", "json").json()["state"] == "running"
    gate.open()
    assert type_("plan", "wait", plan).status == 0


def test_a_pipe_is_told_no_time_and_asks_nothing(
    environment: dict[str, str], tmp_path: Path, type_: Type
) -> None:
    child = subprocess.Popen(
        [LAB, *wait_at(Gate(tmp_path / "gate"))],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=TIMEOUT)
    assert (child.returncode, out) == (130, "")
    (line,) = err.splitlines()
    case = line.partition("cancel ")[2].partition("'")[0]
    assert type_("testcase", "cancel", case).status == 0


def test_a_reader_that_goes_away(environment: dict[str, str], type_: Type) -> None:
    case = type_("run", HOST, "--detach", "--", "seq", "100000").out.strip()
    assert type_("testcase", "wait", case).status == 0
    for command in (f"testcase output {case}", "testcase list -f csv", f"testcase show {case}"):
        done = subprocess.run(
            ["bash", "-c", f"{LAB} {command} | head -c 1; echo ${{PIPESTATUS[0]}} >&2"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=True,
        )
        assert done.stderr in ("141\n", "0\n"), command  # what fits into the pipe breaks none


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("slave list >&-", 0),
        ("slave list <&- >&- 2>&-", 0),
        ("nonsense 2>&-", 2),
        (f"run {HOST} -- seq 100000 >&-", 0),
        ("plan check - <&-", 2),
        ("slave list >/dev/full", 2),
        ("help >/dev/full", 2),
        ("complete >/dev/full", 2),
        (f"run {HOST} -- seq 100000 >/dev/full", 2),
        (f"run {HOST} -- true 2>/dev/full", 2),
        ("slave show $'\\xff'", 2),
        (f"run {HOST} -- echo $'\\xff'", 2),
    ],
)
def test_streams_and_words_that_cannot_be_used(
    environment: dict[str, str], line: str, status: int
) -> None:
    """Only a test that has failed is 1, and no error has a traceback."""
    done = subprocess.run(
        ["bash", "-c", f"{LAB} {line}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == status, done
    assert "unexpected" not in done.stderr
    assert done.stderr.count("\n") <= 1


def test_ctrl_c_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "labapi_client.cli.shell", Interrupting("shell"))
    assert main() == 130


class Interrupting(ModuleType):
    """A module in whose import somebody presses Ctrl-C."""

    def __getattr__(self, name: str) -> object:
        raise KeyboardInterrupt


def test_output_of_many_bytes_is_whole(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [LAB, "-q", "run", HOST, "--", "seq", "200000"],
        env=environment,
        stdout=subprocess.PIPE,
        timeout=TIMEOUT,
        check=True,
    )
    assert done.stdout == b"".join(b"%d\n" % n for n in range(1, 200001))


def test_bytes_are_handed_on_as_they_are(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [LAB, "-q", "run", HOST, "--", "printf", r"\377\000\033[31m"],
        env=environment,
        stdout=subprocess.PIPE,
        timeout=TIMEOUT,
        check=True,
    )
    assert done.stdout == b"\xff\x00\x1b[31m"


def test_a_terminal_of_ascii(environment: dict[str, str], type_: Type) -> None:
    type_("slave", "set", HOST, "owner=Zoë")
    try:
        done = subprocess.run(
            [LAB, "slave", "list", "--long"],
            env={**environment, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            timeout=TIMEOUT,
            check=True,
        )
        assert b"owner=Zo\\xeb" in done.stdout
    finally:
        type_("slave", "unset", HOST, "owner")


def test_the_lab_goes_away_while_a_case_waits(terminal: Terminal) -> None:
    """A connection that is refused is one line, whatever the program was doing."""
    child = terminal.type("--url", "http://127.0.0.1:1", "run", HOST, "--", "true")
    child.expect("lab: no connection to http://127.0.0.1:1/v2.1")
    assert ended(child) == 2


def test_no_thread_is_left_behind(type_: Type) -> None:
    before = threading.active_count()
    assert type_("run", HOST, "--", "true").status == 0
    until(lambda: threading.active_count() <= before + 1)
