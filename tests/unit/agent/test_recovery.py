"""An agent that is killed at any moment loses nothing and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from labapi.agent.attempts.journal import Journal
from labapi.agent.manager import Agent
from labapi.agent.processes import proc
from labapi.rpc.messages import Announce, CaseResult, RunCase, encode
from labapi.rpc.publisher import Envelope
from tests.unit.agent.conftest import HOST, Conductor, case
from tests.unit.agent.processes.test_process_trees import nap, sleeping, wait_for

__all__ = ["nap"]

# An agent whose broker is away: commands come from its standard input, results stay with it.
PROGRAM = """
import sys
from labapi import config
from labapi.agent.manager import Agent
from labapi.rpc.messages import decode
from labapi.rpc.transport import Transport

conf = config.new(
    state_path=sys.argv[1],
    agent__host=sys.argv[2],
    agent__plugins=["linux_system"],
    agent__cgroup=sys.argv[3],
    agent__slots=1,
    agent__accept_unsigned=True,
    messaging__transport_url="amqp://127.0.0.1:1/",
)
conf([], default_config_files=[], default_config_dirs=[])
agent = Agent(conf, Transport(conf))
agent.start()
for line in sys.stdin.buffer:
    agent._intake.take([decode(line)])
    print("taken", flush=True)
"""


class Victim:
    """An agent in a process of its own."""

    def __init__(self, state: Path, groups: str) -> None:
        command = [sys.executable, "-c", PROGRAM, str(state), HOST, groups]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
        )

    def send(self, *commands: RunCase) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for command in commands:
            self.process.stdin.write(encode(command) + b"\n")
            self.process.stdin.flush()
            assert self.process.stdout.readline() == b"taken\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def victim(make_conf: Callable[..., Any], request: pytest.FixtureRequest) -> Any:
    agent = Victim(Path(make_conf().state_path), getattr(request, "param", "off"))
    yield agent
    agent.kill()


@pytest.mark.parametrize("victim", ["off", "auto"], indirect=True)
def test_what_ran_when_the_agent_was_killed_is_ended_and_reported(
    victim: Victim, start: Callable[..., Agent], conductor: Conductor, nap: str
) -> None:
    script = f"setsid nohup sleep {nap} & trap '' TERM; (sleep {nap} &); sleep {nap}"
    running, waiting = case(command="sh", args=["-c", script]), case(command="true")
    victim.send(running, waiting)
    wait_for(lambda: len(sleeping(nap)) == 3)
    victim.kill()
    assert len(sleeping(nap)) == 3
    start(kill_grace=0.3)
    assert not sleeping(nap)
    result = conductor.result(running)
    assert (result.result, result.reason) == ("ERROR", "agent_restarted")
    assert "nothing is left" in (result.detail or "")
    conductor.send(running, waiting)  # resent: one is known, the other had not started
    assert conductor.result(waiting).result == "PASS"
    assert len(conductor.wait(CaseResult, attempt=running.attempt)) == 1


def test_a_process_without_a_trace_of_its_attempt_is_found_by_its_control_group(
    make_conf: Callable[..., Any], start: Callable[..., Agent], conductor: Conductor, nap: str
) -> None:
    victim = Victim(Path(make_conf().state_path), "require")
    command = case(command="sh", args=["-c", f"env -i setsid /bin/sleep {nap} & wait"])
    try:
        victim.send(command)
    except (AssertionError, BrokenPipeError):
        victim.kill()
        pytest.skip("no control group can be made here")
    wait_for(lambda: sleeping(nap))
    os.kill(victim.process.pid, signal.SIGKILL)
    victim.kill()
    start(kill_grace=0.3)
    assert not sleeping(nap)
    assert "sleep" in (conductor.result(command).detail or "")


def test_results_that_the_broker_has_not_seen_are_sent(
    victim: Victim,
    make_conf: Callable[..., Any],
    start: Callable[..., Agent],
    conductor: Conductor,
) -> None:
    commands = [case(command="printf", args=["%0100000d", str(n)]) for n in range(3)]
    victim.send(*commands)
    journal = Path(make_conf().state_path) / f"agent-{HOST}" / "journal.sqlite"
    reader = Journal(journal)
    wait_for(lambda: len(reader.unreported()) == 3)
    reader.close()
    victim.kill()
    time.sleep(0.3)
    agent = start()
    for number, command in enumerate(commands):
        result = conductor.result(command)
        assert (result.result, result.exit_code) == ("PASS", 0)
        assert 0.3 <= result.age < 600
        assert conductor.output(command) == b"%0100000d" % number
    wait_for(lambda: not agent._journal.unreported())


def test_a_pid_that_was_used_again_survives(
    make_conf: Callable[..., Any], start: Callable[..., Agent], conductor: Conductor
) -> None:
    folder = Path(make_conf().state_path) / f"agent-{HOST}"
    folder.mkdir(parents=True)
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    now = proc.read(bystander.pid)
    assert now is not None
    command = case(command="sleep", args="60")
    journal = Journal(folder / "journal.sqlite")
    journal.accept([command])
    journal.started(command.attempt)
    journal.process(command.attempt, bystander.pid, now.start - 5)
    journal.close()
    start()
    result = conductor.result(command)
    assert "no process was left" in (result.detail or "")
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_an_attempt_runs_once_whenever_the_agent_is_killed(
    make_conf: Callable[..., Any],
    start: Callable[..., Agent],
    conductor: Conductor,
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    log.touch()
    commands = [
        case(command="sh", args=["-c", f"echo $LABAPI_ATTEMPT >> {log}; sleep 0.02"])
        for _ in range(40)
    ]
    left = list(commands)
    for moment in (0.05, 0.2, 0.35):
        victim = Victim(Path(make_conf().state_path), "off")
        victim.send(*left[:5])
        time.sleep(moment)
        victim.kill()
    start(slots=4)
    for command in commands:
        conductor.send(command)
    results = {c.attempt: conductor.result(c) for c in commands}
    ran = log.read_text().split()
    assert len(ran) == len(set(ran))
    passed = {attempt for attempt, result in results.items() if result.result == "PASS"}
    others = {result.reason for result in results.values() if result.result != "PASS"}
    assert passed <= set(ran)
    assert others <= {"agent_restarted"}


def test_output_that_was_not_confirmed_is_sent_with_the_result_after_a_restart(
    start: Callable[..., Agent],
    conductor: Conductor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = start()
    end, batch = threading.Event(), agent._reporter.batch

    def swallow() -> list[Envelope]:
        if not agent._reporter.unsent():  # signs of life alone; the case may not have come yet
            return batch()
        end.wait(60)
        raise OSError("the message broker was a black hole")

    monkeypatch.setattr(agent._reporter, "batch", swallow)
    go_on = tmp_path / "go on"
    script = f"printf %0100000d 1; until test -e '{go_on}'; do sleep 0.05; done; printf %0100000d 2"
    command = case(command="sh", args=["-c", script])
    conductor.send(command)
    wait_for(lambda: sum(len(data) for _, data in agent._journal.output(command.attempt)) == 100000)
    go_on.touch()
    wait_for(lambda: agent._journal.unreported())
    end.set()
    agent.stop()
    again = start()
    result = conductor.result(command)
    assert (result.result, result.output_size) == ("PASS", 200000)
    assert result.output == b"%0100000d%0100000d" % (1, 2)
    wait_for(lambda: not again._journal.output(command.attempt))


def test_what_a_case_wrote_before_the_agent_was_killed_is_sent(
    victim: Victim,
    make_conf: Callable[..., Any],
    start: Callable[..., Agent],
    conductor: Conductor,
    nap: str,
) -> None:
    command = case(command="sh", args=["-c", f"printf %0100000d 1; sleep {nap}"])
    victim.send(command)
    reader = Journal(Path(make_conf().state_path) / f"agent-{HOST}" / "journal.sqlite")
    wait_for(lambda: sum(len(data) for _, data in reader.output(command.attempt)) == 100000)
    reader._db.close()
    victim.kill()
    start(kill_grace=0.3)
    result = conductor.result(command)
    assert (result.reason, result.output_size) == ("agent_restarted", 100000)
    assert result.output == b"%0100000d" % 1


def test_what_was_given_before_contact_was_lost_does_not_run(
    start: Callable[..., Agent], conductor: Conductor, tmp_path: Path
) -> None:
    agent = start()
    old = conductor.wait(Announce)[-1].session
    ran = tmp_path / "ran"

    def command(attempt: str, session: str | None) -> RunCase:
        script = f"echo {attempt} >> {ran}"
        return replace(case(command="sh", args=["-c", script], attempt=attempt), session=session)

    first = command("first", old)
    conductor.send(first)
    assert conductor.result(first).result == "PASS"
    agent._reporter.away("nothing answers")
    agent._signs.announce()
    wait_for(lambda: conductor.wait(Announce)[-1].session != old)
    new = conductor.wait(Announce)[-1].session
    conductor.send(command("late", old), last := command("last", new))
    assert conductor.result(last).result == "PASS"
    agent.stop()
    (agent._state.path / "journal.sqlite").unlink()
    start()
    wait_for(lambda: conductor.wait(Announce)[-1].session != new)
    newest = conductor.wait(Announce)[-1]
    assert newest.journal != conductor.wait(Announce)[0].journal
    conductor.send(first, last, end := command("end", newest.session))
    assert conductor.result(end).result == "PASS"
    assert ran.read_text().split() == ["first", "last", "end"]


def test_an_announcement_names_what_is_still_to_be_reported(
    victim: Victim,
    make_conf: Callable[..., Any],
    start: Callable[..., Agent],
    conductor: Conductor,
    nap: str,
) -> None:
    ended, running = case(command="true"), case(command="sleep", args=nap)
    victim.send(ended, running)
    wait_for(lambda: sleeping(nap))
    victim.kill()
    start(kill_grace=0.3)
    assert conductor.wait(Announce)[0].held == {
        ended.attempt: ended.case,
        running.attempt: running.case,
    }
