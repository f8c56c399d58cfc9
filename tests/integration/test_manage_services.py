"""``labapi-manage service``: the list as nova-manage prints it, disabling, draining."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from labapi.cmd.caller import caller
from tests.lab import HOST, Gate, Lab, ask, until
from tests.programs import BIN, run


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    running = Lab(
        tmp_path_factory.mktemp("services"),
        conductor__host="brain",
        api__machine="door",
    ).start()
    yield running
    running.stop()


def manage(lab: Lab, *args: str) -> subprocess.CompletedProcess[str]:
    return run("labapi-manage", "--state-path", str(lab.folder), "service", *args)


def listed(lab: Lab, *args: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(manage(lab, "list", "-f", "json", *args).stdout)
    return rows


def post(lab: Lab, command: str, args: Sequence[str] = ()) -> str:
    case = {
        "plugin": "linux_system",
        "host": HOST,
        "method": "run_shell",
        "parameters": {"command": command, "args": args},
    }
    return str(ask(lab.app, "/testcases", case).json["id"])


def post_waiting(lab: Lab, gate: Gate) -> str:
    """Post a case that ends when the gate is open; return it once it runs."""
    case = post(lab, "sh", ["-c", gate.wait])
    until(lambda: state_of(lab, case) == "running")
    return case


def state_of(lab: Lab, case: str) -> str:
    return str(ask(lab.app, f"/testcases/{case}").json["state"])


def test_the_table_has_the_columns_of_nova_manage(lab: Lab) -> None:
    until(lambda: len(listed(lab)) == 3)
    lines = manage(lab, "list").stdout.splitlines()
    wanted = ("Binary", "Host", "Zone", "Status", "State", "Updated_At")
    assert lines[0] == "{:16} {:36} {:16} {:10} {:5} {:10}".format(*wanted).rstrip()
    found = {}
    for line in lines[1:]:
        cells = re.fullmatch(
            r"(.{16}) (.{36}) (.{16}) (.{10}) (.{5}) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", line
        )
        assert cells is not None, line
        found[cells[1].strip()] = [cell.strip() for cell in cells.groups()[1:5]]
    assert found == {
        "labapi-agent": [HOST, "lab", "enabled", ":-)"],
        "labapi-api": ["door", "lab", "enabled", ":-)"],
        "labapi-conductor": ["brain", "lab", "enabled", ":-)"],
    }


def test_the_list_as_json_and_by_host_and_service(lab: Lab) -> None:
    (agent,) = listed(lab, "--host", HOST)
    assert agent["Binary"] == "labapi-agent"
    assert agent["State"] == "up"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", str(agent["Updated_At"]))
    assert [row["Host"] for row in listed(lab, "--service", "labapi-conductor")] == ["brain"]
    assert listed(lab, "--host", "nobody") == []


def test_the_long_list_says_why(lab: Lab) -> None:
    assert manage(lab, "disable", HOST, "--reason", "new\x1b[31m disk").returncode == 0
    text = manage(lab, "list", "--long", "--host", HOST).stdout
    assert "Reason" in text
    assert "new?[31m disk" in text
    (row,) = listed(lab, "--long", "--host", HOST)
    assert row["Disabled_By"] == caller()
    for form in ("value", "csv", "table"):
        shown = manage(lab, "list", "--long", "--host", HOST, "-f", form).stdout
        assert "new?[31m disk" in shown
        assert "\x1b" not in shown
    assert manage(lab, "enable", HOST).returncode == 0
    (row,) = listed(lab, "--long", "--host", HOST)
    assert (row["Status"], row["Reason"], row["Running"]) == ("enabled", None, 0)
    assert row["Disabled_By"] is None


def test_a_disabled_host_finishes_what_runs_and_takes_nothing_new(lab: Lab, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    running = post_waiting(lab, gate)
    drain = subprocess.Popen(
        [
            *(str(BIN / "labapi-manage"), "--state-path", str(lab.folder)),
            *("service", "drain", HOST, "--reason", "moves house", "--wait", "120"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    until(lambda: listed(lab, "--host", HOST)[0]["Status"] == "disabled")
    waiting = post(lab, "true")
    gate.open()
    said, _ = drain.communicate(timeout=180)
    assert drain.returncode == 0
    assert said.splitlines()[-1] == f"{HOST} has nothing to do any more"
    assert state_of(lab, running) == "finished"
    assert state_of(lab, waiting) == "queued"
    manage(lab, "enable", HOST)
    until(lambda: state_of(lab, waiting) == "finished")


def test_a_drain_that_takes_too_long_says_so(lab: Lab, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    running = post_waiting(lab, gate)
    done = manage(lab, "drain", HOST, "--wait", "0.1")
    assert done.returncode == 1
    assert f"1 cases are not finished after 0.1 s; {HOST} stays disabled" in done.stderr
    manage(lab, "enable", HOST)
    gate.open()
    until(lambda: state_of(lab, running) == "finished")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("disable", "nobody"), "there is no service labapi-agent on host 'nobody'"),
        (("disable", HOST, "labapi-api"), "only labapi-agent can be disabled"),
    ],
)
def test_what_cannot_be_switched(lab: Lab, args: tuple[str, ...], said: str) -> None:
    done = manage(lab, *args)
    assert done.returncode == 1
    assert said in done.stderr


def test_no_database(tmp_path: Path) -> None:
    done = run("labapi-manage", "--state-path", str(tmp_path), "service", "list")
    assert done.returncode == 1
    assert "run: labapi-manage db upgrade" in done.stderr
