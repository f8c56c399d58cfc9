"""Services that stop, and agents that take a predecessor's place; each in a lab of its own."""

from __future__ import annotations

from pathlib import Path

import webob

from labapi.db import hosts, testcases
from tests.integration.test_manage_services import listed, manage, post_waiting
from tests.lab import HOST, Gate, Lab, until
from tests.programs import run


def test_services_that_stop_are_down_at_once(tmp_path: Path) -> None:
    lab = Lab(tmp_path, conductor__host="brain", api__machine="door").start()
    until(lambda: len(listed(lab)) == 3)
    lab.stop()
    states = {row["Binary"]: row["State"] for row in listed(lab)}
    assert states["labapi-api"] == states["labapi-conductor"] == "down"


def test_accepting_an_agent_settles_what_its_predecessor_leaves(tmp_path: Path) -> None:
    lab = Lab(tmp_path, conductor__sweep_interval=60).start()
    try:
        running = post_waiting(lab, Gate(tmp_path / "never"))
        refused = run("labapi-manage", "--state-path", str(tmp_path), "agent", "accept", HOST)
        assert refused.returncode == 1
        assert f"no other agent uses the name of host '{HOST}'" in refused.stderr
        lab.database.write(hosts.dispute, {HOST: "the-new-one"})
        assert "labapi-manage agent accept lab-1" in manage(lab, "list", "--long").stdout
        request = webob.Request.blank("/v2.1/slaves/1", remote_addr="127.0.0.1")
        assert request.get_response(lab.app).json["claimed"] is True
        accepted = run("labapi-manage", "--state-path", str(tmp_path), "agent", "accept", HOST)
        assert accepted.returncode == 0, accepted.stderr
        case = lab.database.read(testcases.get, running)
        assert (case.state, case.result, case.reason) == ("finished", "ERROR", "agent_lost")
        assert lab.database.read(hosts.known, [HOST])[HOST].agent == "the-new-one"
    finally:
        lab.stop()
