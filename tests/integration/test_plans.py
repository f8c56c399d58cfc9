"""Test plans for real: API, two conductors and agents as programs, RabbitMQ and MariaDB."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from labapi_client import connect
from labapi_client.lab import Lab
from labapi_client.plan_tree import Plan
from tests.integration.rolling import ADDRESSES, Release, RollingLab
from tests.integration.web_service import WebService
from tests.lab import MariaDB, RabbitMQ
from tests.processes import until

PLANS = Path(__file__).parent / "plans"
TIMEOUT = 120.0
STATIONS = {f"Data:STA{n}": address for n, address in enumerate(ADDRESSES, 1)}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebService]:
    """Return a web service that ``systemctl start demo`` starts."""
    service = WebService(tmp_path_factory.mktemp("bin"))
    yield service
    service.close()


@pytest.fixture(scope="module")
def programs(
    tmp_path_factory: pytest.TempPathFactory,
    mariadb: MariaDB,
    rabbitmq: RabbitMQ,
    service: WebService,
) -> Iterator[RollingLab]:
    lab = RollingLab(tmp_path_factory.mktemp("lab"), mariadb.url, rabbitmq.url)
    path = f"{service.folder}:{os.environ['PATH']}"
    lab.start(Release("now", env={"PATH": path}))
    yield lab
    lab.stop()


@pytest.fixture
def lab(programs: RollingLab) -> Iterator[Lab]:
    with connect(programs.urls[0]) as lab:
        yield lab


def finished(lab: Lab, plan: Plan) -> Plan:
    """Wait for the end of a plan, and return it with its entries."""
    lab.plans.wait(plan.id, timeout=TIMEOUT)
    return lab.plans.get(plan.id)


def test_two_stations(lab: Lab) -> None:
    stations = {name: STATIONS[name] for name in ("Data:STA1", "Data:STA2")}
    plan = finished(lab, lab.plans.create(PLANS / "two-stations.json", stations))
    entries = {entry.path: entry for entry in plan.entries()}
    assert list(entries) == [
        "1/Parallel-Step-1/1",
        "1/Parallel-Step-1/2",
        "2/Serial-Step-1/1",
        "2/Serial-Step-1/2",
        "2/Serial-Step-2/1",
    ]
    assert {entry.result for entry in entries.values()} == {"PASS"}, lab.plans.report(plan.id)
    ping = entries["1/Parallel-Step-1/1"]
    assert ping.description == "STA1 reaches STA2"
    assert ping.input["host"] == "lab-1"
    assert ping.input["parameters"] == {"host": ADDRESSES[1], "count": 3}
    assert ADDRESSES[1] in ping.output["log"]
    assert entries["2/Serial-Step-2/1"].input["host"] == "lab-2"
    assert entries["2/Serial-Step-2/1"].output["log"].startswith("Linux ")
    assert (plan.result, plan.counts["PASS"]) == ("PASS", 5)
    nodes = {node.path: node for node in plan.nodes()}
    assert nodes["1/Parallel-Step-1"].description == "both stations are there"
    assert all(
        one.started_at >= entries["1/Parallel-Step-1/1"].finished_at
        for path, one in entries.items()
        if path.startswith("2/")
    )


def test_a_web_service_from_start_to_end(lab: Lab, service: WebService) -> None:
    here = {"Data:STA1": STATIONS["Data:STA1"], "Data:URL": service.url}
    plan = finished(lab, lab.plans.create(PLANS / "web-service.json", here))
    results = [(entry.path, entry.result) for entry in plan.entries()]
    assert results == [(f"1/Serial-Step-1/{n}", "PASS") for n in range(1, 5)]
    assert service.did == ["start", "GET", "POST", "stop"]


def test_a_web_service_that_cannot_add(lab: Lab, service: WebService) -> None:
    """What fails ends its step there, and what only cleans up has to say so."""
    service.did.clear()
    document = json.loads((PLANS / "web-service.json").read_text())
    step = document["testplan"]["1"]["Serial-Step-1"]
    step["3"]["parameters"]["contains"] = "51"
    step["4"]["always"] = True
    here = {"Data:STA1": STATIONS["Data:STA1"], "Data:URL": service.url}
    plan = finished(lab, lab.plans.create(document, here))
    assert [entry.result for entry in plan.entries()] == ["PASS", "PASS", "FAIL", "PASS"]
    assert (plan.result, service.did[-1]) == ("FAIL", "stop")


def long_plan(file: Path, name: str) -> dict[str, object]:
    """Return a plan whose entries write their names down, each as often as it runs."""

    def entry(at: str, host: int) -> dict[str, object]:
        script = f"echo {at} >> {file}; sleep 0.3"
        parameters = {"command": "sh", "args": ["-c", script]}
        where = {"host": ADDRESSES[host % len(ADDRESSES)]}
        return {"plugin": "linux_system", "method": "run_shell", **where, "parameters": parameters}

    def step(at: str) -> dict[str, object]:
        return {str(n): entry(f"{at}/{n}", n) for n in range(1, 9)}

    return {
        "name": name,
        "testplan": {
            case: {
                "Parallel-Step-1": step(f"{case}/Parallel-Step-1"),
                "Serial-Step-1": step(f"{case}/Serial-Step-1"),
            }
            for case in ("1", "2")
        },
    }


def test_a_conductor_is_killed_in_the_middle(
    lab: Lab, programs: RollingLab, tmp_path: Path
) -> None:
    """Nothing is lost, and nothing runs twice, whichever of the two has advanced the plan."""
    file = tmp_path / "ran"
    plans = [lab.plans.create(long_plan(file, f"killed-{n}")) for n in range(2)]
    killed, other = programs.conductors
    until(lambda: file.exists() and len(file.read_text().splitlines()) > 12, TIMEOUT)
    assert killed.process is not None
    killed.process.stop(signal.SIGKILL)
    try:
        ended = [finished(lab, plan) for plan in plans]
    finally:
        killed.start(Release("now"))
    for plan in ended:
        entries = list(plan.entries())
        assert [entry.path for entry in entries if entry.result != "PASS"] == []
        assert {entry.tries for entry in entries} == {1}
        assert (plan.result, plan.counts["PASS"]) == ("PASS", len(entries))
    ran = Counter(file.read_text().split())
    assert ran == Counter({entry.path: len(plans) for entry in ended[0].entries()})
    assert other.process is not None
    assert other.process.runs
