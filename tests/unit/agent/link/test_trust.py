"""Whom the agent obeys: forged, altered, repeated and late commands do nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from labapi.agent.link import trust
from labapi.agent.link.trust import ConductorClock, Trust
from labapi.agent.manager import Agent
from labapi.exceptions import ConfigError, Unavailable
from labapi.rpc import signing
from labapi.rpc.messages import (
    Announce,
    CancelCase,
    CaseRefused,
    CaseResult,
    CaseStarted,
    Heartbeat,
    Introduce,
    Message,
    RunCase,
    Welcome,
)
from labapi.rpc.publisher import Envelope, Publisher
from labapi.rpc.signing import Signer
from labapi.rpc.transport import Transport
from tests.lab import Gate
from tests.unit.agent.conftest import HOST, Conductor, case
from tests.unit.agent.processes.test_process_trees import wait_for

Start = Callable[..., Agent]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    signing.create_key(tmp_path / "key", tmp_path / "key.pub")
    return tmp_path / "key"


class Signing:
    """A conductor with a key: signs what it sends, as it is or altered afterwards."""

    def __init__(self, transport: Transport, key: Path) -> None:
        signer = signing.signer(str(key))
        assert signer is not None
        self.signer: Signer = signer
        self.publisher = Publisher(transport, signer=signer)

    def send(self, *commands: Message, control: bool = False, expires: float = 300) -> None:
        kind = "control" if control else "agent"
        self.publisher.publish([Envelope(c, f"{kind}.{HOST}", expires=expires) for c in commands])

    def welcome(self, conductor: Conductor, clock: float | None = None) -> None:
        """Answer the challenge that the agent has sent."""
        announced = conductor.wait(Announce)[-1]
        assert announced.challenge is not None
        moment = time.time() if clock is None else clock
        answer = Welcome(
            host=HOST, agent=announced.agent, challenge=announced.challenge, clock=moment
        )
        self.send(answer, control=True)


@pytest.fixture
def signed(make_conf: Callable[..., Any], key: Path) -> Iterator[Signing]:
    end = Signing(Transport(make_conf()), key)
    yield end
    end.publisher.close()


@pytest.fixture
def agent(start: Start, key: Path, conductor: Conductor, signed: Signing) -> Agent:
    """Return an agent with a key that has been told the time."""
    started = start(trusted_keys=[f"{key}.pub"])
    signed.welcome(conductor)
    return started


def touch(file: Path) -> RunCase:
    return case(command="touch", args=[str(file)])


def nothing_ran(conductor: Conductor, signed: Signing, file: Path) -> None:
    """Run a proper command after the others: by then they have been refused."""
    last = case(command="true")
    signed.send(last)
    assert conductor.result(last).result == "PASS"
    assert not file.exists()
    assert [m.attempt for m in conductor.received if isinstance(m, CaseResult)] == [last.attempt]


def test_a_signed_command_runs(agent: Agent, signed: Signing, conductor: Conductor) -> None:
    command = case(command="echo", args="hello")
    signed.send(command)
    assert conductor.result(command).output == b"hello\n"


def test_an_unsigned_command_does_nothing(
    agent: Agent, signed: Signing, conductor: Conductor, tmp_path: Path
) -> None:
    conductor.send(touch(tmp_path / "file"))
    nothing_ran(conductor, signed, tmp_path / "file")


def test_a_command_with_the_signature_of_another_does_nothing(
    agent: Agent, signed: Signing, conductor: Conductor, tmp_path: Path
) -> None:
    class Borrowed:
        def headers(self, body: bytes, ttl: float | None) -> dict[str, str]:
            return signed.signer.headers(b"another body", ttl)

    forger = Publisher(signed.publisher._transport, signer=Borrowed())  # type: ignore[arg-type]
    forger.publish([Envelope(touch(tmp_path / "file"), f"agent.{HOST}")])
    forger.close()
    nothing_ran(conductor, signed, tmp_path / "file")


def test_a_command_signed_for_another_host_does_nothing(
    agent: Agent, signed: Signing, conductor: Conductor, tmp_path: Path
) -> None:
    signed.send(replace(touch(tmp_path / "file"), host="lab-2"))
    nothing_ran(conductor, signed, tmp_path / "file")


def test_a_repeated_command_runs_once(
    agent: Agent, signed: Signing, conductor: Conductor, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    command = case(command="sh", args=["-c", f"echo once >> {log}"])
    signed.send(command)
    conductor.result(command)
    signed.send(command, command)
    last = case(command="true")
    signed.send(last)
    conductor.result(last)
    assert log.read_text() == "once\n"


def test_an_expired_command_does_nothing(
    agent: Agent, signed: Signing, conductor: Conductor, tmp_path: Path
) -> None:
    class Late:
        def headers(self, body: bytes, ttl: float | None) -> dict[str, str]:
            return signed.signer.headers(body, -signing.TOLERANCE - 1)

    late = Publisher(signed.publisher._transport, signer=Late())  # type: ignore[arg-type]
    late.publish([Envelope(touch(tmp_path / "file"), f"agent.{HOST}")])
    late.close()
    nothing_ran(conductor, signed, tmp_path / "file")


@pytest.mark.parametrize("skew", [-86400.0, 86400.0])
def test_the_machines_own_clock_does_not_matter(
    start: Start,
    key: Path,
    signed: Signing,
    conductor: Conductor,
    monkeypatch: pytest.MonkeyPatch,
    skew: float,
) -> None:
    start(trusted_keys=[f"{key}.pub"])
    # Seen from the agent, the conductors' clock is wrong by a day: so it is for a skewed machine.
    real = time.time
    monkeypatch.setattr("labapi.rpc.signing.time.time", lambda: real() + skew)
    signed.welcome(conductor, real() + skew)
    command = case(command="true")
    signed.send(command)
    assert conductor.result(command).result == "PASS"


def test_cases_wait_until_a_conductor_has_told_the_time(
    start: Start,
    key: Path,
    signed: Signing,
    conductor: Conductor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start(trusted_keys=[f"{key}.pub"])
    command = case(command="true")
    signed.send(command)
    with pytest.raises(AssertionError, match="no CaseResult"):
        conductor.result(command, timeout=0.5)
    signed.welcome(conductor)
    assert conductor.result(command).result == "PASS"


def test_cancelling_is_signed_too(
    agent: Agent, signed: Signing, conductor: Conductor, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    command, other = (case(command="sh", args=["-c", gate.wait]) for _ in range(2))
    cancel = CancelCase(case=command.case, attempt=command.attempt, host=HOST)
    signed.send(command, other)
    for running in (command, other):
        conductor.wait(CaseStarted, attempt=running.attempt)
    conductor.send(cancel)
    signed.send(CancelCase(case=other.case, attempt=other.attempt, host=HOST), control=True)
    assert conductor.result(other).result == "CANCELLED"  # and what came before was refused
    gate.open()
    assert conductor.result(command).result == "PASS"


def test_heartbeats_go_on_asking_until_there_is_an_answer(
    start: Start, key: Path, signed: Signing, conductor: Conductor
) -> None:
    start(trusted_keys=[f"{key}.pub"], heartbeat_interval=0.1)
    assert all(beat.challenge for beat in conductor.wait(Heartbeat, 2))
    signed.welcome(conductor)
    conductor.wait(Heartbeat, challenge=None)


def test_an_agent_without_keys_asks_nothing(start: Start, conductor: Conductor) -> None:
    start()
    assert conductor.wait(Announce)[0].challenge is None


class TestConductorClock:
    """The clock by itself, with a steady clock that the test moves."""

    @pytest.fixture(autouse=True)
    def steady(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        moment = [1000.0]
        monkeypatch.setattr(trust, "_steady", lambda: moment[0])
        return moment

    def told(self, clock: float = 5000.0) -> ConductorClock:
        made = ConductorClock()
        made.answered(made.challenge() or "", clock)
        return made

    def test_it_goes_on_by_itself(self, steady: list[float]) -> None:
        clock = self.told()
        steady[0] += 10
        assert clock.passed(5009.9)
        assert not clock.passed(5010.1)

    def test_nothing_is_judged_before_the_first_answer(self) -> None:
        with pytest.raises(Unavailable, match="no conductor has answered"):
            ConductorClock().passed(0)

    def test_a_recorded_answer_does_not_set_it_back(self, steady: list[float]) -> None:
        clock = ConductorClock()
        recorded = clock.challenge() or ""
        clock.answered(recorded, 5000.0)
        steady[0] += 2 * trust.RENEW
        fresh = clock.challenge()
        assert fresh not in (None, recorded)
        clock.answered(recorded, 5000.0)
        assert clock.passed(5000.0 + trust.RENEW)

    def test_an_answer_counts_once(self, steady: list[float]) -> None:
        clock = ConductorClock()
        challenge = clock.challenge() or ""
        clock.answered(challenge, 5000.0)
        steady[0] += 5
        clock.answered(challenge, 5000.0)
        assert clock.passed(5004.0)

    @pytest.mark.parametrize("forged", ["", "0" * 32, "\u0660" * 32])
    def test_another_answer_than_the_one_asked_for(self, forged: str) -> None:
        clock = ConductorClock()
        clock.challenge()
        clock.answered(forged, 5000.0)
        with pytest.raises(Unavailable):
            clock.passed(0)

    def test_an_answer_that_was_held_up(self, steady: list[float]) -> None:
        clock = ConductorClock()
        challenge = clock.challenge() or ""
        steady[0] += trust.ANSWER_WITHIN + 1
        clock.answered(challenge, 5000.0)
        with pytest.raises(Unavailable):
            clock.passed(0)

    def test_one_challenge_until_it_is_too_old(self, steady: list[float]) -> None:
        clock = ConductorClock()
        first = clock.challenge()
        assert clock.challenge() == first
        steady[0] += trust.ANSWER_WITHIN + 1
        assert clock.challenge() != first

    def test_it_is_asked_for_again_after_a_while(self, steady: list[float]) -> None:
        clock = self.told()
        assert clock.challenge() is None
        steady[0] += trust.RENEW
        assert clock.challenge() is not None


def test_an_agent_that_nobody_could_command_does_not_start(make_conf: Callable[..., Any]) -> None:
    conf = make_conf()
    conf.set_override("transport_url", "amqp://guest:guest@127.0.0.1//", "messaging")
    with pytest.raises(ConfigError, match=r"key create .* accept_unsigned = true"):
        Trust(conf.agent, Transport(conf))


def test_obeying_everybody_is_a_warning(
    make_conf: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    conf = make_conf(accept_unsigned=True)
    conf.set_override("transport_url", "amqp://guest:guest@127.0.0.1//", "messaging")
    assert Trust(conf.agent, Transport(conf)).cases is None
    assert "whoever can write to the message broker can run programs here" in caplog.text


def test_a_case_for_the_predecessor_does_not_run_here(
    start: Start, conductor: Conductor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start()
    mine = conductor.wait(Announce)[0].agent
    conductor.send(replace(touch(tmp_path / "file"), agent="somebody-else"))
    wait_for(lambda: "cases here are for another agent" in caplog.text)
    own = replace(case(command="true"), agent=mine)
    conductor.send(own)
    assert conductor.result(own).result == "PASS"
    assert not (tmp_path / "file").exists()


def test_a_refused_agent_says_what_to_do(
    agent: Agent, signed: Signing, conductor: Conductor, caplog: pytest.LogCaptureFixture
) -> None:
    announced = conductor.wait(Announce)[-1]
    refusal = Welcome(host=HOST, agent=announced.agent, challenge="", clock=0.0, accepted=False)
    seen = len(conductor.wait(Announce))
    signed.send(refusal, refusal, Introduce(host=HOST), control=True)
    conductor.wait(Announce, seen + 1)  # by now it has read the refusals
    own = replace(case(command="true"), agent=announced.agent)
    signed.send(own)
    conductor.result(own)
    said = [r.message for r in caplog.records if "labapi-manage agent accept" in r.message]
    assert len(said) == 1
    assert "the conductors have accepted this agent" in caplog.text


class TestAnotherKey:
    """One key takes the place of another while the agent works."""

    @pytest.fixture
    def newer(self, tmp_path: Path) -> Path:
        signing.create_key(tmp_path / "newer", tmp_path / "newer.pub")
        return tmp_path / "newer"

    @pytest.fixture
    def successor(self, make_conf: Callable[..., Any], newer: Path) -> Iterator[Signing]:
        end = Signing(Transport(make_conf()), newer)
        yield end
        end.publisher.close()

    def trust(self, agent: Agent, *keys: Path) -> None:
        files = [f"{key}.pub" for key in keys]
        agent._trust._options = FileNames(files)  # type: ignore[assignment]
        agent.reload_keys()

    def test_both_are_obeyed_once_the_agent_has_read_them(
        self,
        agent: Agent,
        signed: Signing,
        successor: Signing,
        conductor: Conductor,
        key: Path,
        newer: Path,
    ) -> None:
        assert conductor.wait(Announce)[-1].trusted_keys == [signed.signer.id]
        self.trust(agent, key, newer)
        both = sorted([signed.signer.id, successor.signer.id])
        conductor.wait(Announce, trusted_keys=both)
        for end in (signed, successor):
            command = case(command="true")
            end.send(command)
            assert conductor.result(command).result == "PASS"
        self.trust(agent, newer)
        conductor.wait(Announce, trusted_keys=[successor.signer.id])

    def test_what_an_unknown_key_has_signed_is_refused_for_good(
        self, agent: Agent, signed: Signing, successor: Signing, conductor: Conductor
    ) -> None:
        command = case(command="true")
        successor.send(command)
        (refusal,) = conductor.wait(CaseRefused)
        assert (refusal.case, refusal.attempt) == (command.case, command.attempt)
        # The conductors may have given the case another attempt by now: this one must not run.
        signed.send(command)
        conductor.wait(CaseRefused, 2)
        last = case(command="true")
        signed.send(last)
        conductor.result(last)
        results = [m for m in conductor.received if isinstance(m, CaseResult)]
        assert [m.attempt for m in results] == [last.attempt]

    def test_an_attempt_that_runs_already_is_not_refused(
        self,
        agent: Agent,
        signed: Signing,
        successor: Signing,
        conductor: Conductor,
        tmp_path: Path,
    ) -> None:
        gate = Gate(tmp_path / "gate")
        command = case(command="sh", args=["-c", gate.wait])
        signed.send(command)
        conductor.wait(CaseStarted, attempt=command.attempt)
        successor.send(command)
        gate.open()
        assert conductor.result(command).result == "PASS"
        assert not [m for m in conductor.received if isinstance(m, CaseRefused)]

    def test_cancelling_what_was_refused_ends_it(
        self, agent: Agent, signed: Signing, successor: Signing, conductor: Conductor
    ) -> None:
        command = case(command="true")
        successor.send(command)
        conductor.wait(CaseRefused)
        signed.send(CancelCase(case=command.case, attempt=command.attempt, host=HOST), control=True)
        assert conductor.result(command).result == "CANCELLED"

    def test_a_file_that_is_not_there_changes_nothing(
        self,
        agent: Agent,
        signed: Signing,
        conductor: Conductor,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        self.trust(agent, tmp_path / "nowhere")
        assert "nowhere.pub: No such file or directory; the keys that were trusted still are" in (
            caplog.text
        )
        command = case(command="true")
        signed.send(command)
        assert conductor.result(command).result == "PASS"

    def test_the_number_of_refusals_is_bounded(
        self, agent: Agent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trust, "_steady", lambda: 1000.0)
        answers = [agent._trust.may_answer_unknown() for _ in range(trust.MOST_UNKNOWN + 1)]
        assert answers == [True] * trust.MOST_UNKNOWN + [False]
        monkeypatch.setattr(trust, "_steady", lambda: 1000.0 + trust.UNKNOWN_WINDOW)
        assert agent._trust.may_answer_unknown()


class FileNames:
    """The group ``[agent]`` after its file was edited."""

    def __init__(self, files: list[str]) -> None:
        self.trusted_keys = files
