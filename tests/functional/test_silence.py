"""A conductor that cannot hear does not take hosts for silent."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labapi.case import State
from labapi.conductor import hearing
from labapi.conductor.manager import Conductor
from labapi.db import hosts, testcases
from labapi.rpc.transport import Transport
from tests.lab import HOST, Gate, Lab, RabbitMQ, ask, until
from tests.proxy import Proxy

LOST_AFTER = 4.0  # seconds; a connection that is cut is noticed in one of them


def test_heartbeats_that_are_written_are_heard_between_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "AGENTS_RETURN", 0.0)
    lab = Lab(
        tmp_path,
        messaging__retry_interval_max=0.5,
        conductor__sweep_interval=600.0,
        agent__heartbeat_interval=0.1,
    )
    start = datetime.datetime.now(datetime.UTC)
    lab.start()
    listening = lab.conductor.hearing
    until(lambda: listening.heard_for(start, datetime.datetime.now(datetime.UTC)) > 0)
    lab.stop()


@pytest.fixture
def link() -> Iterator[Proxy]:
    link = Proxy(5672)
    yield link
    link.close()


@pytest.fixture
def lab(tmp_path: Path, link: Proxy) -> Iterator[Lab]:
    """A lab in which the conductor alone reaches the broker over the link."""
    broker = RabbitMQ().create()
    lab = Lab(
        tmp_path,
        messaging__transport_url=broker.url,
        messaging__connect_timeout=2.0,
        messaging__retry_interval_max=0.5,
        conductor__service_down_time=1.0,
        conductor__lost_after=LOST_AFTER,
        agent__heartbeat_interval=0.1,
    ).start()
    lab.conductor.stop()
    url = broker.url.replace(":5672", f":{link.port}")
    lab.conf.set_override("transport_url", url, group="messaging")
    lab.conductor = Conductor(lab.conf, Transport(lab.conf), lab.database)
    lab.conductor.start()
    yield lab
    lab.stop()
    broker.drop()


def post(lab: Lab, script: str) -> str:
    parameters = {"command": "sh", "args": ["-c", script]}
    case = {"plugin": "linux_system", "host": HOST, "method": "run_shell", "parameters": parameters}
    return str(ask(lab.app, "/testcases", case).json["id"])


def heard(lab: Lab) -> datetime.datetime:
    (row,) = lab.database.read(hosts.heard, [HOST])
    moment: datetime.datetime = row.last_seen_at
    return moment


def test_a_case_outlives_the_conductors_link_to_the_broker(
    lab: Lab, link: Proxy, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "open")
    before = heard(lab)
    until(lambda: heard(lab) > before, what="a heartbeat")
    case = post(lab, gate.wait)
    until(lambda: lab.database.read(testcases.get, case).started_at, what="the start of the case")
    link.swallow()
    link.flow()  # cuts what there is
    link.swallow()
    last = heard(lab)
    time.sleep(2.5 * LOST_AFTER)  # nothing is to happen in it
    row = lab.database.read(testcases.get, case)
    assert (row.state, row.detail) == (State.RUNNING, None)
    link.flow()
    until(lambda: heard(lab) > last + datetime.timedelta(seconds=2), what="a heartbeat")
    gate.open()
    until(lambda: lab.database.read(testcases.get, case).state == State.FINISHED)
    assert lab.database.read(testcases.get, case).result == "PASS"
