"""Which cases are given to their hosts as they are made, and which wait for a conductor."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import webob

from labapi.conductor.heartbeats import said
from labapi.db import attempts, hosts, services, testcases
from labapi.rpc.messages import Announce, MethodDescription
from tests.lab import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose conductor does nothing and whose hosts have no agent behind them."""
    lab = Lab(tmp_path_factory.mktemp("lab"), scheduler__dispatch_ahead=1).start(agent=False)
    lab.conductor.stop()
    lab.backend.hints.stop()  # what it finds out about the broker is what the tests say
    yield lab
    lab.stop()


@pytest.fixture
def host(lab: Lab) -> str:
    """The name of a host with one slot, so that there is room for two cases."""
    name = f"host-{uuid.uuid4().hex[:8]}"
    plugins = {"linux_system": {"run_shell": MethodDescription(description="")}}
    message = Announce(host=name, agent="a", address=None, release="1", plugins=plugins)
    now = datetime.datetime.now(datetime.UTC)
    lab.database.write(hosts.announce, {name: said(message)}, now)
    lab.database.write(services.beat, services.AGENT, {name: None}, now)
    return name


def post(lab: Lab, host: str) -> Any:
    body = {"plugin": "linux_system", "host": host, "method": "run_shell", "parameters": {}}
    request = webob.Request.blank("/v2.1/testcases", environ={"REMOTE_ADDR": "127.0.0.1"})
    request.method, request.content_type = "POST", "application/json"
    request.body = json.dumps(body).encode()
    answer = request.get_response(lab.app)
    assert answer.status_int == 202, answer.text
    return lab.database.read(testcases.get, answer.json["id"])


def test_a_host_is_given_what_it_has_room_for(lab: Lab, host: str) -> None:
    cases = [post(lab, host) for _ in range(4)]
    assert [case.state for case in cases] == ["running", "running", "queued", "queued"]
    assert [case.attempts for case in cases] == [1, 1, 0, 0]
    assert len({case.attempt for case in cases[:2]}) == 2
    assert [case.dispatched_at for case in cases[2:]] == [None, None]


def test_nobody_is_given_a_place_past_who_waits(lab: Lab, host: str) -> None:
    first = post(lab, host)
    lab.database.write(
        attempts.change,
        [{"row": first.id, "state": "queued", "attempt": None, "dispatched_at": None}],
    )
    assert post(lab, host).state == "queued"


def test_a_drained_host_is_given_nothing(lab: Lab, host: str) -> None:
    lab.database.write(services.switch, services.AGENT, host, disabled=True, reason="maintenance")
    assert post(lab, host).state == "queued"


def test_a_silent_host_is_given_nothing(lab: Lab, host: str) -> None:
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=61)
    lab.database.write(services.beat, services.AGENT, {host: None}, long_ago)
    assert post(lab, host).state == "queued"


def test_while_the_broker_is_away_cases_wait(
    lab: Lab, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab.backend.hints, "away", True)
    assert post(lab, host).state == "queued"
