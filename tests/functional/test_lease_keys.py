"""Whoever has leased a host has its ssh keys there for as long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labapi.rpc import signing
from labapi.rpc.messages import LeaseKeys
from labapi.rpc.publisher import Envelope, Publisher
from labapi.rpc.transport import control_key
from tests.lab import HOST, Lab, ask
from tests.processes import until

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[Lab]:
    file = folder / "lease_keys"
    lab = Lab(folder, agent__lease_keys_file=str(file), agent__heartbeat_interval=0.2).start()
    yield lab
    lab.stop()


def lease(lab: Lab, **values: Any) -> str:
    body = {"hosts": [HOST], "seconds": 600, "keys": [f"{KEY} alice@home"], **values}
    made = ask(lab.app, "/leases", body)
    assert made.status_code == 201, made.text
    assert made.json["keys"] == [KEY]
    return str(made.json["id"])


def test_the_keys_come_and_go_with_the_lease(lab: Lab, folder: Path) -> None:
    file = folder / "lease_keys"
    made = lease(lab)
    until(lambda: f" {KEY} lease-{made}\n" in file.read_text())
    assert ask(lab.app, f"/leases/{made}", method="DELETE").status_code == 204
    until(lambda: KEY not in file.read_text())
    made = lease(lab, seconds=2)
    until(lambda: made in file.read_text())
    until(lambda: KEY not in file.read_text())
    until(lambda: ask(lab.app, f"/leases/{made}").json["state"] == "ended")


def test_an_agent_that_was_away_is_told_when_it_is_back(lab: Lab, folder: Path) -> None:
    file = folder / "lease_keys"
    made = lease(lab)
    until(lambda: made in file.read_text())
    assert lab.agent is not None
    lab.agent.stop()
    assert KEY in file.read_text()
    assert ask(lab.app, f"/leases/{made}", method="DELETE").status_code == 204
    lab.start_agent()
    until(lambda: KEY not in file.read_text())


def test_a_message_that_answers_nothing_lets_nobody_in(lab: Lab, folder: Path) -> None:
    """Whoever recorded one may send it again, with the conductor's own signature."""
    assert lab.agent is not None
    signer = signing.signer(lab.conf.conductor.signing_key)
    message = LeaseKeys(
        host=HOST,
        agent=lab.agent._state.agent,
        nonce="0" * 32,
        lease="replayed",
        keys=[KEY],
        seconds=600.0,
    )
    publisher = Publisher(lab.transport, signer=signer)
    publisher.publish([Envelope(message, control_key(HOST), expires=30.0)])
    made = lease(lab)  # what comes after it has been heard
    file = folder / "lease_keys"
    until(lambda: made in file.read_text())
    assert "replayed" not in file.read_text()
    publisher.close()
    ask(lab.app, f"/leases/{made}", method="DELETE")
