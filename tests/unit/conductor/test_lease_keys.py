"""Agents are told whose ssh keys they are to let in, where they have others."""

from __future__ import annotations

import datetime

import pytest

from labapi.conductor import lease_keys
from labapi.db import leases
from labapi.rpc.messages import Heartbeat, KeysHeld, LeaseKeys
from tests.hosts import make_lease
from tests.unit.conductor.conftest import Parts

KEY = "ssh-ed25519 AAAA"


def now(seconds: float = 0.0) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)


def lease(parts: Parts, keys: list[str] | None) -> tuple[str, int]:
    whose = {"project_id": f"p-{parts.host}", "keys": keys, "seconds": 600.0}
    made = make_lease(parts.database, [parts.host], **whose)
    found = parts.database.read(leases.get, made)
    assert found is not None
    return made, found.id


def told(parts: Parts, lease: str = "", seconds: float = 0.0) -> LeaseKeys | None:
    held = KeysHeld(nonce="n", lease=lease, seconds=seconds)
    beat = Heartbeat(host=parts.host, agent="a", clock=0.0, keys=held)
    found = [envelope.message for envelope in lease_keys.corrections(parts.database, [beat], now())]
    assert all(isinstance(message, LeaseKeys) for message in found)
    return found[0] if found else None  # type: ignore[return-value]


def test_they_are_told_until_they_have_them_and_until_they_do_not(parts: Parts) -> None:
    assert told(parts) is None
    made, number = lease(parts, [KEY])
    message = told(parts)
    assert message is not None
    assert (message.host, message.agent, message.nonce) == (parts.host, "a", "n")
    assert (message.lease, message.keys) == (made, [KEY])
    assert message.seconds == pytest.approx(600, abs=60)
    assert told(parts, made, message.seconds) is None
    assert told(parts, made, 0.0) is not None  # it is not sure, or the lease was renewed
    assert told(parts, "another", 600.0) is not None
    parts.database.write(leases.end, number, now(), "u")
    message = told(parts, made, 500.0)
    assert message is not None
    assert (message.lease, message.keys) == ("", [])
    assert told(parts) is None


def test_a_lease_without_keys_lets_nobody_in(parts: Parts) -> None:
    made, _ = lease(parts, None)
    assert told(parts) is None
    assert told(parts, made, 600.0) is not None


def test_who_keeps_no_keys_is_told_nothing(parts: Parts) -> None:
    lease(parts, [KEY])
    beat = Heartbeat(host=parts.host, agent="a", clock=0.0)
    assert lease_keys.corrections(parts.database, [beat], now()) == []
