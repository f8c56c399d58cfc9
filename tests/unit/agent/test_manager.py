"""The agent as a whole: commands in, processes, reports out."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import stat
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labapi.agent import timers
from labapi.agent.link import signs
from labapi.agent.manager import Agent
from labapi.exceptions import ConfigError, Unavailable
from labapi.rpc.messages import (
    Announce,
    CancelCase,
    CaseResult,
    CaseStarted,
    Goodbye,
    Heartbeat,
    Introduce,
    Output,
    RunCase,
)
from labapi.rpc.publisher import Envelope
from tests.lab import Gate
from tests.unit.agent.conftest import HOST, Conductor, case
from tests.unit.agent.processes.test_process_trees import nap, sleeping, wait_for

__all__ = ["nap"]

Start = Callable[..., Agent]

PLUGIN = """
import json, sys, time
from pathlib import Path
from labapi.agent.plugins import CaseError, Outcome, Plugin, Run, TestFailed, method
from labapi.exceptions import InvalidInput

class Bench(Plugin):
    @method("Return what is given", schema={"type": "object", "required": ["value"]})
    def give(self, run, parameters):
        return parameters["value"]

    @method("Return nothing")
    def nothing(self, run, parameters):
        return None

    @method("Raise")
    def fail(self, run, parameters):
        raise {"failed": TestFailed("42 is not 43"), "value": ValueError("wrong"),
               "lab": CaseError("no probe", "no_probe"), "exit": SystemExit(3),
               "input": InvalidInput("parameters.x: no"), "space": OSError(28, "No space left"),
               "recursion": RecursionError("deep")}[parameters["what"]]

    @method("Return what is no JSON")
    def odd(self, run, parameters):
        return {"object": object(), "set": {object()}, "big": "x" * 2_000_000,
                "deep": json.loads("[" * 300 + "]" * 300),
                "verdict": Outcome("MAYBE"), "half": "\\ud800"}[parameters["what"]]

    @method("Do not end until a file is there, whatever one says")
    def hang(self, run, parameters):
        if "begun" in parameters:
            run.execute(["sh", "-c", "sleep 4242 >/dev/null 2>&1 &"])
            Path(parameters["begun"]).touch()
        while not Path(parameters["until"]).exists():
            time.sleep(0.01)

    @method("Write, and go on when a file is there")
    def talk(self, run, parameters):
        for word in parameters["words"]:
            run.write(word)
            while not Path(parameters["until"]).exists():
                run.check()
                time.sleep(0.01)

    @method("Tell about the folder")
    def folder(self, run, parameters):
        (run.workdir / "file").write_text("x")
        return {"path": str(run.workdir), "mode": run.workdir.stat().st_mode & 0o777,
                "remaining": run.remaining, "timeout": run.timeout}
"""


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def waiting_at(gate: Gate) -> RunCase:
    """Return a command that ends when the gate is open."""
    return case(command="sh", args=["-c", gate.wait])


def test_what_runs_may_end_before_the_agent_stops(
    start: Start, conductor: Conductor, gate: Gate
) -> None:
    agent = start(slots=1)
    running, waiting = waiting_at(gate), case(command="true")
    conductor.send(running)
    conductor.wait(CaseStarted, attempt=running.attempt)
    conductor.send(waiting)
    wait_for(lambda: agent._slots.waits(waiting.attempt))
    drained = threading.Event()
    hurry = threading.Event()
    thread = threading.Thread(target=lambda: (agent.drain(300.0, hurry), drained.set()))
    thread.start()
    conductor.wait(Heartbeat, stopping=True)
    late = case(command="true")
    conductor.send(late)
    assert not drained.is_set()
    gate.open()
    assert conductor.result(running).result == "PASS"
    assert drained.wait(60)
    agent.stop()
    thread.join()
    started = {m.attempt for m in conductor.received if isinstance(m, CaseStarted | CaseResult)}
    assert started == {running.attempt}  # the others are resent after the next start
    assert agent._slots.waits(waiting.attempt) is None


def test_a_drain_can_be_hurried_and_has_its_time(
    start: Start, conductor: Conductor, gate: Gate
) -> None:
    agent = start()
    running = waiting_at(gate)
    conductor.send(running)
    conductor.wait(CaseStarted, attempt=running.attempt)
    hurry = threading.Event()
    agent.drain(0.1, hurry)
    hurry.set()
    agent.drain(3600.0, hurry)
    agent.stop()
    result = conductor.result(running)
    assert (result.result, result.reason) == ("ERROR", "agent_stopped")


@pytest.fixture
def bench(install: Callable[..., None], start: Start) -> Agent:
    """Return an agent with the plugin ``bench``."""
    install("bench", {"bench": "bench_plugin:Bench"}, bench_plugin=PLUGIN)
    return start(plugins=["linux_system", "bench"], slots=2, kill_grace=0.2)


def test_a_command_passes_with_its_output_in_one_message(
    start: Start, conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "SOON", 600.0)  # the machine may be slow
    start(output_interval=600.0)
    command = case(command="echo", args="one 'two three'")
    conductor.send(command)
    result = conductor.result(command)
    assert (result.result, result.exit_code, result.output) == ("PASS", 0, b"one two three\n")
    assert result.output_size == len(result.output)
    assert result.ran is not None
    assert not [m for m in conductor.received if isinstance(m, Output | CaseStarted)]


@pytest.mark.parametrize(
    ("command", "exit_code", "detail"),
    [
        (["sh", "-c", "exit 3"], 3, None),
        (["sh", "-c", "kill -9 $$"], -9, "the process was ended by SIGKILL"),
        (["sh", "-c", "kill -SEGV $$"], -11, "the process was ended by SIGSEGV"),
    ],
)
def test_a_command_fails_by_its_exit_status(
    start: Start, conductor: Conductor, command: list[str], exit_code: int, detail: str | None
) -> None:
    start()
    sent = case(command=command[0], args=command[1:])
    conductor.send(sent)
    result = conductor.result(sent)
    assert (result.result, result.reason) == ("FAIL", None)
    assert (result.exit_code, result.detail) == (exit_code, detail)


@pytest.mark.parametrize(
    ("parameters", "reason", "detail"),
    [
        ({"command": "no-such-program"}, "cannot_start", "No such file"),
        ({"command": "/etc/passwd"}, "cannot_start", "Permission denied"),
        ({"command": "true\0x"}, "cannot_start", "null byte"),
        ({"command": "true", "args": ["x" * 100_000] * 60}, "cannot_start", "too long"),
        ({"command": "echo", "args": "'open"}, "rejected", "parameters.args"),
        ({"command": ""}, "rejected", "parameters.command"),
        ({}, "rejected", "'command' is a required property"),
        ({"command": "ls", "shell": True}, "rejected", "'shell' was unexpected"),
        ({"command": ["ls"]}, "rejected", "parameters.command"),
        ({"command": "ls", "args": [1]}, "rejected", "parameters.args"),
    ],
)
def test_parameters_that_cannot_be_used_are_the_labs_error(
    start: Start, conductor: Conductor, parameters: dict[str, Any], reason: str, detail: str
) -> None:
    start()
    command = case(**parameters)
    conductor.send(command)
    result = conductor.result(command)
    assert (result.result, result.reason, result.exit_code) == ("ERROR", reason, None)
    assert detail in (result.detail or "")


@pytest.mark.parametrize(
    ("plugin", "method", "detail"),
    [
        ("nothing", "run_shell", "there is no plugin 'nothing' here; there are: linux_system"),
        ("linux_system", "fly", "has no method 'fly'; it has: ping, run_shell, system_information"),
        ("linux_system", "__init__", "has no method"),
        ("linux_system", "methods", "has no method"),
    ],
)
def test_an_unknown_plugin_or_method_is_rejected(
    start: Start, conductor: Conductor, plugin: str, method: str, detail: str
) -> None:
    start()
    command = case(method, plugin=plugin)
    conductor.send(command)
    result = conductor.result(command)
    assert (result.result, result.reason) == ("ERROR", "rejected")
    assert detail in (result.detail or "")


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, "é"]}, [1], "text", 0, False])
def test_what_a_method_returns_is_the_data(bench: Agent, conductor: Conductor, value: Any) -> None:
    command = case("give", plugin="bench", value=value)
    conductor.send(command)
    result = conductor.result(command)
    assert (result.result, result.data) == ("PASS", value)


@pytest.mark.parametrize(
    ("method", "what", "outcome", "reason", "detail"),
    [
        ("nothing", "", "PASS", None, None),
        ("fail", "failed", "FAIL", None, "42 is not 43"),
        ("fail", "value", "ERROR", "exception", "ValueError: wrong"),
        ("fail", "lab", "ERROR", "no_probe", "no probe"),
        ("fail", "exit", "ERROR", "exception", "SystemExit: 3"),
        ("fail", "input", "ERROR", "rejected", "parameters.x: no"),
        ("fail", "space", "ERROR", "no_space", "No space left"),
        ("fail", "recursion", "ERROR", "exception", "RecursionError"),
        ("odd", "object", "ERROR", "bad_data", "not JSON"),
        ("odd", "set", "ERROR", "bad_data", "not JSON"),
        ("odd", "big", "ERROR", "bad_data", "larger than"),
        ("odd", "deep", "ERROR", "bad_data", "nested deeper than"),
        ("odd", "verdict", "ERROR", "bad_data", "neither PASS nor FAIL"),
        ("odd", "half", "ERROR", "bad_data", "not JSON"),
    ],
)
def test_what_a_method_raises_or_returns_becomes_a_result(
    bench: Agent,
    conductor: Conductor,
    method: str,
    what: str,
    outcome: str,
    reason: str | None,
    detail: str | None,
) -> None:
    command = case(method, plugin="bench", what=what)
    conductor.send(command)
    result = conductor.result(command)
    assert (result.result, result.reason) == (outcome, reason)
    assert (detail or "") in (result.detail or "")


def test_an_attempt_has_a_folder_of_its_own_that_goes_with_it(
    bench: Agent, conductor: Conductor
) -> None:
    command = case("folder", plugin="bench", timeout=70)
    conductor.send(command)
    data = conductor.result(command).data
    assert data["mode"] == 0o700
    assert 0 < data["remaining"] < data["timeout"] == 70
    wait_for(lambda: not Path(data["path"]).exists())


def test_the_environment_holds_nothing_of_the_agents_own(
    start: Start, conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABAPI_SECRET", "s3cret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("TZ", "UTC")
    start(environment=["PATH", "TZ", "GREETING=hello"])
    command = case(command="env")
    conductor.send(command)
    lines = conductor.result(command).output.decode().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert found == {
        "PATH": os.environ["PATH"],
        "TZ": "UTC",
        "GREETING": "hello",
        "LABAPI_CASE": command.case,
        "LABAPI_ATTEMPT": command.attempt,
        **{name: found[name] for name in ("PWD",) if name in found},
    }


def test_the_agent_announces_itself_beats_and_says_goodbye(
    start: Start, conductor: Conductor
) -> None:
    agent = start(heartbeat_interval=0.2)
    announce = conductor.wait(Announce)[0]
    assert (announce.host, announce.slots) == (HOST, 8)
    assert announce.plugins["linux_system"]["run_shell"].schema["required"] == ["command"]
    for sign in (announce, *conductor.wait(Heartbeat, 3)):
        assert sign.facts.keys() >= {
            "load1", "memory_total_mib", "memory_available_mib", "disk_free_mib", "running",
            "waiting", "slots", "abandoned", "release", "python", "boot_id",
        }  # fmt: skip
        assert abs(sign.clock - time.time()) < 120
    conductor.publisher.publish([Envelope(Introduce(host=HOST), f"control.{HOST}")])
    conductor.wait(Announce, 2)
    agent.stop()
    assert conductor.wait(Goodbye)[0].agent == announce.agent


def test_the_identity_stays_with_the_folder(start: Start, conductor: Conductor) -> None:
    first = start()
    first.stop()
    start()
    one, two = conductor.wait(Announce, 2)
    assert one.agent == two.agent


def test_a_folder_has_one_agent(start: Start, make_conf: Callable[..., Any]) -> None:
    agent = start()
    with pytest.raises(ConfigError, match="another agent uses"):
        start()
    folder = Path(make_conf().state_path) / f"agent-{HOST}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "journal.sqlite").stat().st_mode) == 0o600
    agent.stop()
    start()


@pytest.mark.parametrize("host", ["../x", "a/b", "", "-x", "x\n"])
def test_a_host_name_cannot_leave_the_state_folder(start: Start, host: str) -> None:
    with pytest.raises(ConfigError, match="not a host name"):
        start(host=host)


def test_timeout_ends_the_tree_and_keeps_the_output(
    start: Start, conductor: Conductor, nap: str
) -> None:
    agent = start()
    script = f"echo begun; sleep {nap} & sleep {nap}"
    command = case(command="sh", args=["-c", script], timeout=600)
    conductor.send(command)
    wait_for(lambda: len(sleeping(nap)) == 2)
    (attempt,) = agent._slots.running()
    assert attempt.run is not None
    attempt.run.deadline = time.monotonic()  # now that it has come so far
    result = conductor.result(command)
    assert (result.result, result.reason, result.exit_code) == ("TIMEOUT", "timeout", None)
    assert "3 processes ended" in (result.detail or "")
    assert "nothing is left" in (result.detail or "")
    assert conductor.output(command) == b"begun\n"


def test_a_timeout_comes_in_its_time(start: Start, conductor: Conductor) -> None:
    start()
    command = case(command="sleep", args="600", timeout=0.3)
    conductor.send(command)
    assert conductor.result(command).result == "TIMEOUT"


def test_what_passes_and_leaves_something_says_so(start: Start, conductor: Conductor) -> None:
    start()
    command = case(command="sh", args=["-c", "sleep 73 & echo done"])
    conductor.send(command)
    result = conductor.result(command)
    assert (result.result, result.output) == ("PASS", b"done\n")
    assert "left in the background: 1 process ended: sleep" in (result.detail or "")


def test_a_timeout_of_zero_runs_nothing(start: Start, conductor: Conductor) -> None:
    start()
    command = case(command="echo", args="x", timeout=0.0)
    conductor.send(command)
    assert (conductor.result(command).result, conductor.result(command).output) == ("TIMEOUT", b"")


def cancel(command: RunCase) -> CancelCase:
    return CancelCase(case=command.case, attempt=command.attempt, host=command.host)


def test_cancel_of_a_running_attempt(start: Start, conductor: Conductor, nap: str) -> None:
    start()
    command = case(command="sleep", args=nap)
    conductor.send(command)
    wait_for(lambda: sleeping(nap))
    conductor.send(cancel(command))
    result = conductor.result(command)
    assert (result.result, result.reason) == ("CANCELLED", "cancelled")
    assert "1 process ended: sleep" in (result.detail or "")


def test_cancel_of_a_waiting_attempt_is_at_once(
    start: Start, conductor: Conductor, gate: Gate
) -> None:
    start(slots=1)
    first, second = waiting_at(gate), case(command="echo", args="x")
    conductor.send(first, second)
    conductor.wait(CaseStarted, attempt=first.attempt)
    conductor.send(cancel(second))
    result = conductor.result(second)
    assert not [m for m in conductor.received if getattr(m, "result", "") == "PASS"]
    assert (result.result, result.ran) == ("CANCELLED", None)
    gate.open()
    assert conductor.result(first).result == "PASS"


def test_cancel_of_an_attempt_that_comes_later(start: Start, conductor: Conductor) -> None:
    start()
    command = case(command="echo", args="x")
    conductor.send(cancel(command))
    assert conductor.result(command).result == "CANCELLED"
    conductor.send(command)
    results = conductor.wait(CaseResult, 2, attempt=command.attempt)
    assert {(r.result, r.output) for r in results} == {("CANCELLED", b"")}


def test_cancel_of_a_finished_attempt_changes_nothing(start: Start, conductor: Conductor) -> None:
    start()
    command, later = case(command="true"), case(command="true")
    conductor.send(command)
    conductor.result(command)
    conductor.send(cancel(command))
    conductor.send(cancel(later))
    conductor.result(later)
    assert len(conductor.wait(CaseResult, attempt=command.attempt)) == 1


def test_an_attempt_that_comes_again_runs_once(start: Start, conductor: Conductor) -> None:
    agent = start()
    command = case(command="echo", args="x")
    conductor.send(command, command)
    conductor.result(command)
    conductor.send(command)
    agent.stop()
    start()  # the journal outlives the agent
    conductor.send(command)
    last = case(command="true")
    conductor.send(last)
    conductor.result(last)
    assert len(conductor.wait(CaseResult, attempt=command.attempt)) == 1


@pytest.mark.parametrize("attempt", ["../../etc", "a/b", "", "x\0y", "-rf", "é" * 5, "x" * 65])
def test_a_forged_attempt_id_does_nothing(start: Start, conductor: Conductor, attempt: str) -> None:
    start()
    forged, good = case(command="true", attempt=attempt), case(command="true")
    conductor.send(forged, good)
    assert conductor.result(good).result == "PASS"
    assert not [m for m in conductor.received if getattr(m, "attempt", None) == attempt]


def test_a_command_for_another_host_does_nothing(start: Start, conductor: Conductor) -> None:
    agent = start()
    stray, good = case(command="true", host="bench-2"), case(command="true")
    agent._intake.take([stray, good])
    agent._intake.obey([cancel(stray)])
    conductor.result(good)
    assert not [m for m in conductor.received if getattr(m, "host", None) == "bench-2"]


@pytest.mark.parametrize("slots", [1, 2])
def test_no_more_than_the_slots_run_and_the_rest_waits_in_order(
    start: Start, conductor: Conductor, tmp_path: Path, slots: int
) -> None:
    start(slots=slots)
    log = tmp_path / "log"
    script = f"echo begin $0 >> {log}; sleep 0.05; echo end $0 >> {log}"
    commands = [case(command="sh", args=["-c", script, str(n)]) for n in range(6)]
    conductor.send(*commands)
    for command in commands:
        assert conductor.result(command).result == "PASS"
    running, begun = 0, []
    for line in log.read_text().splitlines():
        word, number = line.split()
        running += 1 if word == "begin" else -1
        assert running <= slots
        begun += [int(number)] if word == "begin" else []
    # Of two that run at the same time either may write first, and be ahead by any number.
    assert (begun if slots == 1 else sorted(begun)) == list(range(6))


def test_beyond_the_room_cases_wait_at_the_broker(
    start: Start, conductor: Conductor, gate: Gate
) -> None:
    agent = start(slots=1, max_waiting=1)
    commands = [waiting_at(gate) for _ in range(5)]
    conductor.send(*commands)
    wait_for(lambda: agent._slots.counts()[:2] == (1, 1))
    for _ in range(20):
        assert agent._slots.counts().waiting <= 2
        time.sleep(0.02)
    gate.open()
    for command in commands:
        assert conductor.result(command).result == "PASS"
    assert len([m for m in conductor.received if isinstance(m, CaseResult)]) == 5


def test_a_command_that_was_not_resent_for_too_long_does_not_start(
    start: Start, conductor: Conductor, gate: Gate
) -> None:
    agent = start(slots=1, resend_expiry=600.0)
    first, old, renewed = waiting_at(gate), case(command="true"), case(command="true")
    conductor.send(first, old, renewed)
    for command in (old, renewed):
        attempt = wait_for(lambda command=command: agent._slots.waits(command.attempt))
        attempt.heard -= 601
    conductor.send(renewed)
    wait_for(lambda: attempt.heard > time.monotonic() - 600)
    gate.open()
    conductor.result(first)
    assert conductor.result(renewed).result == "PASS"
    assert not [m for m in conductor.received if getattr(m, "attempt", None) == old.attempt]
    conductor.send(old)  # resent, it runs
    assert conductor.result(old).result == "PASS"
    assert agent.alive


def test_an_agent_that_was_paused_does_not_begin_what_it_finds_in_the_pipe(
    start: Start, conductor: Conductor, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = start()
    stale, fresh = case(command="true"), case(command="true")
    with monkeypatch.context() as patch:
        patch.setattr(agent._timers, "_next_look", time.monotonic() - 31.0)
        with pytest.raises(Unavailable, match="was stopped for a while"):
            agent._intake.take([stale])
    conductor.send(fresh)
    conductor.result(fresh)
    assert not [m for m in conductor.received if getattr(m, "attempt", None) == stale.attempt]


def test_output_comes_while_the_case_runs(
    bench: Agent, conductor: Conductor, tmp_path: Path
) -> None:
    command = case("talk", plugin="bench", words=["one", "two"], until=str(tmp_path / "on"))
    conductor.send(command)
    started = conductor.wait(CaseStarted, attempt=command.attempt)
    assert started[0].age < 60
    assert conductor.wait(Output, attempt=command.attempt)[0].data == b"one"
    assert not [m for m in conductor.received if isinstance(m, CaseResult)]
    (tmp_path / "on").touch()
    conductor.result(command)
    assert conductor.output(command) == b"onetwo"
    assert len(conductor.wait(CaseStarted)) == 1


def test_binary_output_of_many_pieces_survives(start: Start, conductor: Conductor) -> None:
    start()
    script = "import os,sys\nfor i in range(300): os.write(1, bytes(range(256)) * 4)"
    command = case(command="python3", args=["-c", script])
    conductor.send(command)
    conductor.result(command)
    assert conductor.output(command) == bytes(range(256)) * 1200


def test_output_beyond_the_limit_is_counted(start: Start, conductor: Conductor) -> None:
    start(max_output=1000)
    command = case(command="head", args="-c 5000000 /dev/zero")
    conductor.send(command)
    result = conductor.result(command)
    assert (result.result, result.output_size) == ("PASS", 5_000_000)
    assert conductor.output(command) == bytes(1000)


def test_a_method_that_does_not_come_back_is_abandoned(
    bench: Agent, conductor: Conductor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(timers, "ABANDON", 0.2)
    until, begun = str(tmp_path / "until"), tmp_path / "begun"
    late = case("hang", plugin="bench", timeout=1, until=until)
    unwanted = case("hang", plugin="bench", until=until, begun=str(begun))
    conductor.send(late, unwanted)
    wait_for(begun.exists)
    conductor.send(cancel(unwanted))
    for command, outcome in ((late, "TIMEOUT"), (unwanted, "CANCELLED")):
        result = conductor.result(command)
        assert result.result == outcome
        assert "its thread was abandoned" in (result.detail or "")
    assert "sleep" in (result.detail or "")
    wait_for(lambda: bench._slots.counts().abandoned == 2)
    after = case(command="echo", args="still here")
    conductor.send(after)
    assert conductor.result(after).result == "PASS"
    (tmp_path / "until").touch()
    wait_for(lambda: bench._slots.counts() == (0, 0, 0))
    assert len([m for m in conductor.received if isinstance(m, CaseResult)]) == 3


def test_cancel_of_a_method_that_asks(bench: Agent, conductor: Conductor, tmp_path: Path) -> None:
    command = case("talk", plugin="bench", words=["x"], until=str(tmp_path / "never"))
    conductor.send(command)
    conductor.wait(Output, attempt=command.attempt)
    conductor.send(cancel(command))
    assert conductor.result(command).result == "CANCELLED"
    assert conductor.output(command) == b"x"


def test_stop_ends_what_runs_and_forgets_what_waits(
    start: Start, conductor: Conductor, nap: str
) -> None:
    agent = start(slots=1)
    running, waiting = (
        case(command="sh", args=["-c", f"echo {w}; sleep {nap} & sleep {nap}"]) for w in "ab"
    )
    conductor.send(running, waiting)
    wait_for(lambda: len(sleeping(nap)) == 2 and agent._slots.waits(waiting.attempt))
    agent.stop()
    result = conductor.result(running)
    assert (result.result, result.reason) == ("ERROR", "agent_stopped")
    assert "3 processes ended" in (result.detail or "")
    conductor.wait(Goodbye)
    assert not [m for m in conductor.received if getattr(m, "attempt", "") == waiting.attempt]
    start()
    again = RunCase(**{**json.loads(json.dumps(_fields(waiting))), "parameters": {"command": "id"}})
    conductor.send(again)  # resent, under the same attempt
    assert conductor.result(waiting).result == "PASS"


def _fields(command: RunCase) -> dict[str, Any]:
    return {name: getattr(command, name) for name in command.__struct_fields__}


def test_a_full_disk_is_an_error_and_not_the_end(start: Start, conductor: Conductor) -> None:
    agent = start()
    db = agent._journal._db
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count={pages}")  # SQLITE_FULL, as a full disk gives it
    commands = [case(command="true", case=str(uuid.uuid4())) for _ in range(200)]
    conductor.send(*commands)
    results = [conductor.result(command) for command in commands]
    assert {r.reason for r in results} == {None, "no_space"}
    db.execute("PRAGMA max_page_count=100000")
    after = case(command="true")
    conductor.send(after)
    assert conductor.result(after).result == "PASS"


def test_an_exhausted_machine_is_an_error_and_not_the_end(
    start: Start, conductor: Conductor
) -> None:
    agent = start(heartbeat_interval=600.0)
    warm = case(command="true")
    conductor.send(warm)
    conductor.result(warm)
    conductor.wait(Heartbeat)
    wait_for(lambda: agent._slots.counts() == (0, 0, 0))  # it has given back what it had open
    command = case(command="true")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        conductor.send(command)
        result = conductor.result(command)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)
    assert (result.result, result.reason) == ("ERROR", "cannot_start")
    after = case(command="true")
    conductor.send(after)
    assert conductor.result(after).result == "PASS"


def test_a_start_is_told_at_once_and_not_with_the_first_output(
    start: Start, conductor: Conductor, nap: str
) -> None:
    agent = start(output_interval=3600.0, heartbeat_interval=3600.0)
    for command in (case(command="sleep", args=nap), case(command="sleep", args=nap)):
        conductor.send(command)
        (started,) = conductor.wait(CaseStarted, attempt=command.attempt)
        assert started.age < 3600
    agent.stop()


def test_heartbeats_name_what_is_held_for_some_time(
    start: Start, conductor: Conductor, nap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signs, "HELD_AFTER", 0.0)
    monkeypatch.setattr(signs, "NAMED", 2)
    agent = start(slots=1, heartbeat_interval=0.1)
    commands = {(c := case(command="sleep", args=nap)).attempt: c for _ in range(3)}
    conductor.send(*commands.values())
    named: set[str] = set()

    def all_had_their_turn() -> bool:
        for beat in conductor.wait(Heartbeat):
            assert len(beat.held) <= 2
            assert all(commands[attempt].case == c for attempt, c in beat.held.items())
            named.update(beat.held)
        return named == commands.keys()

    wait_for(all_had_their_turn)
    monkeypatch.setattr(signs, "HELD_AFTER", 3600.0)
    count = len(conductor.wait(Heartbeat))
    assert conductor.wait(Heartbeat, count=count + 3)[-1].held == {}
    agent.stop()
