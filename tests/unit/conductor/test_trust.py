"""Hosts whose agents do not trust the conductor's key are given nothing, and everybody says why."""

from __future__ import annotations

import datetime
import logging

import pytest
from nacl.signing import SigningKey

from labapi.conductor.trust import Distrust
from labapi.rpc.messages import RunCase
from labapi.rpc.signing import Signer
from tests.hosts import announce
from tests.unit.conductor.conftest import Parts


def trust(parts: Parts, *keys: str) -> None:
    """Have the agent of the host trust these keys."""
    announce(parts.database, parts.host, slots=4, trusted_keys=list(keys))


def test_a_host_that_trusts_another_key_is_given_nothing(parts: Parts) -> None:
    parts.outbox.signer = Signer(SigningKey.generate())
    case = parts.add()
    trust(parts, "0" * 16)
    parts.sweep(datetime.datetime.now(datetime.UTC))
    assert parts.outbox.take(RunCase) == []
    assert parts.get(case).state == "queued"
    trust(parts, "0" * 16, parts.outbox.signer.id)
    parts.sweep(datetime.datetime.now(datetime.UTC))
    assert [command.case for command in parts.outbox.take(RunCase)] == [case]


def test_unsigned_commands_are_for_agents_that_obey_all(parts: Parts) -> None:
    case = parts.add()
    trust(parts, "0" * 16)
    parts.dispatcher.dispatch([parts.host])
    assert parts.get(case).state == "queued"


def test_the_log_tells_once_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    distrust = Distrust()
    for _ in range(3):
        distrust.note({"a": ["1"], "b": ["2"], "c": None}, "2")
    (told,) = caplog.messages
    assert told.startswith("hosts that do not trust the key of this conductor (2) get no cases")
    assert "from it: a; name its public key in [agent] trusted_keys there" in told
    distrust.note({"a": ["1", "2"]}, "2")
    assert caplog.messages[1:] == ["hosts that trust the key of this conductor now: a"]
    distrust.note({f"h{n}": ["1"] for n in range(9)}, "2")
    assert "h0, h1, h2, h3, h4 and 4 more;" in caplog.messages[2]
