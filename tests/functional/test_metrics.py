"""What conductors and agents show to Prometheus."""

from __future__ import annotations

import datetime
import json
import socket
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import webob
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection, func, select

from labapi.agent.manager import Agent
from labapi.db import services, testcases
from labapi.db.models import TestCase
from labapi.exceptions import ConfigError
from labapi.rpc.messages import CaseStarted
from labapi.rpc.publisher import Envelope, Publisher
from labapi.rpc.transport import REPORTS
from tests import plans_to_run
from tests.lab import HOST, Gate, Lab
from tests.processes import free_port, until

Numbers = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("labapi.conductor.watch.PACE", datetime.timedelta(seconds=0.1))
        lab = Lab(
            tmp_path_factory.mktemp("lab"),
            conductor__metrics_port=free_port(),
            agent__metrics_port=free_port(),
            agent__slots=3,
        ).start()
        yield lab
        lab.stop()


def shown(port: int) -> Numbers:
    """Return what is shown: ``{(name, *values of labels by their names): number}``."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def post(lab: Lab, wait: int = 60, **parameters: Any) -> Any:
    body = {"plugin": "linux_system", "host": HOST, "method": "run_shell", "parameters": parameters}
    request = webob.Request.blank(
        f"/v2.1/testcases?wait={wait}", environ={"REMOTE_ADDR": "127.0.0.1"}
    )
    request.method, request.content_type = "POST", "application/json"
    request.body = json.dumps(body).encode()
    return request.get_response(lab.app).json


def test_a_conductor_shows_what_became_of_cases(lab: Lab) -> None:
    port = lab.conf.conductor.metrics_port
    before = shown(port)
    assert post(lab, command="true")["result"] == "PASS"
    assert post(lab, command="no-such-program")["reason"] == "cannot_start"
    name = "labapi_conductor_cases_finished_total"

    def more(*key: str) -> float:
        return shown(port).get(key, 0.0) - before.get(key, 0.0)

    until(lambda: (more(name, "", "PASS"), more(name, "cannot_start", "ERROR")) == (1, 1))
    for histogram in ("wait", "start"):
        assert more(f"labapi_conductor_case_{histogram}_seconds_count") == 2
        assert 0 <= more(f"labapi_conductor_case_{histogram}_seconds_sum") < 120
    # A batch is counted when all has been done for it.
    until(lambda: more("labapi_conductor_batch_messages_count", "reports") >= 2)
    assert more("labapi_conductor_messages_dropped_total", "reports") == 0


def test_a_conductor_shows_what_it_refuses(lab: Lab) -> None:
    port = lab.conf.conductor.metrics_port
    refused = "labapi_conductor_reports_refused_total"
    before = shown(port)[refused,]
    report = CaseStarted(case="none", attempt="0" * 32, host=HOST)
    publisher = Publisher(lab.transport)
    publisher.publish([Envelope(report, f"result.{HOST}", REPORTS.name)])
    # Not exactly one: what a case before this one left behind may come late.
    until(lambda: shown(port)[refused,] > before)
    publisher.close()


def test_a_conductor_shows_hosts_and_what_waits(lab: Lab) -> None:
    port = lab.conf.conductor.metrics_port
    until(lambda: shown(port).get(("labapi_conductor_hosts", "up")) == 1)
    assert shown(port)["labapi_conductor_hosts", "down"] == 0
    assert shown(port)["labapi_conductor_oldest_waiting_seconds",] == 0
    lab.database.write(services.switch, services.AGENT, HOST, disabled=True, reason=None)
    case = post(lab, wait=0, command="true")
    until(lambda: shown(port)["labapi_conductor_cases_waiting",] == 1)
    # The look that saw it first may have begun before it was made.
    until(lambda: 0 < shown(port)["labapi_conductor_oldest_waiting_seconds",] < 60)
    lab.database.write(services.switch, services.AGENT, HOST, disabled=False, reason=None)
    until(lambda: shown(port)["labapi_conductor_cases_waiting",] == 0)
    until(lambda: getattr(lab.database.read(testcases.get, case["id"]), "result", "") == "PASS")


def count_passed(connection: Connection) -> int:
    query = select(func.count()).where(TestCase.result == "PASS")
    return connection.execute(query).scalar_one()


def test_an_agent_shows_what_it_has_in_hand(lab: Lab) -> None:
    port = lab.conf.agent.metrics_port
    passed = ("labapi_agent_cases_finished_total", "PASS")
    # What ended before this is counted when the agent hears that the broker has it.
    until(lambda: shown(port).get(passed, 0) == lab.database.read(count_passed))
    before = shown(port)
    info = next(key for key in before if key[0] == "labapi_info")
    assert {"labapi-agent", HOST} < set(info)
    assert before["labapi_agent_slots",] == 3
    case = post(lab, wait=0, command="sleep", args="600")
    until(lambda: shown(port)["labapi_agent_cases_running",] == 1)
    cancel = webob.Request.blank(
        f"/v2.1/testcases/{case['id']}", environ={"REMOTE_ADDR": "127.0.0.1"}, method="DELETE"
    )
    cancel.get_response(lab.app)
    until(lambda: shown(port)["labapi_agent_cases_running",] == 0)
    assert post(lab, command="true")["result"] == "PASS"
    until(lambda: shown(port)[passed] == before.get(passed, 0.0) + 1)
    assert shown(port)["labapi_agent_cases_finished_total", "CANCELLED"] >= 1
    until(lambda: shown(port)["labapi_agent_reports_unsent",] == 0)


def test_a_port_that_is_in_use_stops_the_start(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = Lab(lab.folder, agent__host="lab-2", agent__metrics_port=taken.getsockname()[1])
        with pytest.raises(ConfigError, match=r"^metrics_port: cannot listen on 127.0.0.1:\d+: "):
            Agent(other.conf, lab.transport).start()


def test_a_conductor_shows_test_plans(lab: Lab) -> None:
    port = lab.conf.conductor.metrics_port
    until(lambda: shown(port).get(("labapi_conductor_plans", "running")) == 0)
    before = shown(port)["labapi_conductor_plan_moves_total",]
    gate = Gate(lab.folder / "plan")
    script = {"command": "sh", "args": ["-c", gate.wait]}
    plan = plans_to_run.add(lab.database, plans_to_run.serial({"host": HOST, "parameters": script}))
    until(lambda: shown(port)["labapi_conductor_plans", "running"] == 1)
    gate.open()
    until(lambda: plans_to_run.plan(lab.database, plan).result == "PASS")
    until(lambda: shown(port)["labapi_conductor_plans", "running"] == 0)
    assert shown(port)["labapi_conductor_plan_moves_total",] >= before + 2
