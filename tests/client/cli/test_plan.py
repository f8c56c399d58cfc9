"""``lab plan …``, where there is no terminal."""

from __future__ import annotations

import io
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.client.cli.conftest import Type, Typed
from tests.lab import HOST


def shell(script: str, **more: Any) -> dict[str, Any]:
    parameters = {"command": "sh", "args": ["-c", script]}
    where = {"host": {"get_param": "Data:STA1"}}
    return {
        "plugin": "linux_system",
        "method": "run_shell",
        **where,
        "parameters": parameters,
        **more,
    }


def plan(*scripts: str, **more: Any) -> dict[str, Any]:
    """Return a plan of one test case, whose entries run one after the other."""
    step = {str(n): shell(script, **more) for n, script in enumerate(scripts, 1)}
    return {
        "name": "a plan",
        "environment": {"Data": {"STA1": "192.0.2.77"}},
        "testplan": {"1": {"Serial-Step-1": {"DESCRIPTION": "one by one", **step}}},
    }


def run(type_: Type, folder: Path, document: dict[str, Any], *options: str) -> Typed:
    file = folder / "plan.json"
    file.write_text(json.dumps(document))
    return type_("plan", "run", str(file), "--set", f"Data:STA1={HOST}", *options)


def newest(type_: Type) -> str:
    (found,) = type_("plan", "list", "--limit", "1", "-f", "json").json()
    return str(found["id"])


def test_run(type_: Type, tmp_path: Path) -> None:
    done = run(type_, tmp_path, plan("echo one", "echo two"))
    assert (done.status, done.out) == (0, "")
    lines = done.err.splitlines()
    assert lines[-1].startswith("PASS: a plan (2 PASS)")
    assert "1: PASS (2 PASS)" in lines
    assert "1/Serial-Step-1: PASS (2 PASS) one by one" in lines


def test_a_quiet_run_says_nothing(type_: Type, tmp_path: Path) -> None:
    done = run(type_, tmp_path, plan("true"), "-q")
    assert (done.status, done.out, done.err) == (0, "", "")


def test_what_did_not_pass_has_a_line(type_: Type, tmp_path: Path) -> None:
    done = run(type_, tmp_path, plan("exit 3", "true", continue_on=["FAIL"]))
    assert done.status == 1
    (line,) = [line for line in done.err.splitlines() if line.startswith("FAIL: 1/")]
    assert line.startswith(f"FAIL: 1/Serial-Step-1/1 linux_system.run_shell on {HOST}, ")
    assert "exit code 3" in line
    assert "FAIL: a plan (1 PASS, 1 FAIL)" in done.err


@pytest.mark.parametrize(
    ("entry", "status"),
    [
        ({"parameters": {"command": "/no/such/program"}}, 2),
        ({"timeout": 0.2}, 3),
    ],
)
def test_the_exit_status_is_that_of_a_case(
    type_: Type, tmp_path: Path, entry: dict[str, Any], status: int
) -> None:
    assert run(type_, tmp_path, plan("sleep 60", **entry)).status == status


def test_json_and_junit(type_: Type, tmp_path: Path) -> None:
    junit = tmp_path / "report.xml"
    done = run(
        type_, tmp_path, plan("echo out", "exit 1"), "-q", "-f", "json", "--junit", str(junit)
    )
    found = json.loads(done.out)
    step = found["testplan"]["1"]["Serial-Step-1"]
    assert (done.status, found["result"]) == (1, "FAIL")
    assert [step[n]["output"]["result"] for n in ("1", "2")] == ["PASS", "FAIL"]
    assert step["1"]["output"]["log"] == "out\n"
    assert len(ET.parse(junit).getroot().findall(".//testcase")) == 2
    assert len(ET.parse(junit).getroot().findall(".//failure")) == 1


def test_detach_and_come_back(type_: Type, tmp_path: Path) -> None:
    plan_id = run(type_, tmp_path, plan("exit 1"), "--detach").out.strip()
    assert type_("plan", "wait", plan_id).status == 1
    assert type_("plan", "show", plan_id, "-f", "json").json()["id"] == plan_id
    shown = type_("plan", "show", plan_id).out
    assert "Serial-Step-1: FAIL (1 FAIL) one by one" in shown


def test_wait_no_longer_and_cancel(type_: Type, tmp_path: Path) -> None:
    done = run(type_, tmp_path, plan("sleep 60"), "--wait", "0.3")
    assert done.status == 2
    assert "is not finished yet; it goes on" in done.err
    plan_id = newest(type_)
    assert type_("plan", "cancel", plan_id).status == 0
    assert type_("plan", "wait", plan_id).status == 4
    assert type_("plan", "cancel", plan_id).status == 2  # it is finished


def test_rerun(type_: Type, tmp_path: Path) -> None:
    once = tmp_path / "once"
    script = f"test -e {once} || {{ touch {once}; exit 1; }}"
    assert run(type_, tmp_path, plan("true", script)).status == 1
    first = newest(type_)
    assert type_("plan", "rerun", "--failed", first).status == 0
    again = type_("plan", "show", newest(type_), "-f", "json").json()
    old = type_("plan", "show", first, "-f", "json").json()
    cases = [
        [shown["testplan"]["1"]["Serial-Step-1"][n]["case"] for n in ("1", "2")]
        for shown in (old, again)
    ]
    assert again["rerun_of"] == first
    assert cases[0][0] == cases[1][0]
    assert cases[0][1] != cases[1][1]
    assert type_("plan", "rerun", first).status == 0


def test_list(type_: Type, tmp_path: Path) -> None:
    assert run(type_, tmp_path, plan("true") | {"name": "of this test"}).status == 0
    asked = ("plan", "list", "--name", "of this test", "--state", "finished", "--result", "PASS")
    (found,) = type_(*asked, "-f", "json").json()
    assert found["id"] == newest(type_)
    assert type_("plan", "list", "--result", "good").status == 2


def test_reports(type_: Type, tmp_path: Path) -> None:
    assert run(type_, tmp_path, plan("echo out")).status == 0
    plan_id = newest(type_)
    assert "a plan" in type_("plan", "report", plan_id).out
    file = tmp_path / "report.html"
    done = type_("plan", "report", plan_id, "--format", "html", "-o", str(file))
    assert (done.status, done.out) == (0, "")
    assert "<html" in file.read_text()
    assert ET.fromstring(type_("plan", "report", plan_id, "--format", "xml").out) is not None


def test_standard_input_and_yaml(
    type_: Type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = """
        name: in YAML
        environment: {Data: {STA1: nowhere}}
        testplan:
          1:
            Parallel-Step-1:
              1: {plugin: linux_system, method: run_shell, parameters: {command: "true"},
                   host: {get_param: "Data:STA1"}}
    """
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert type_("plan", "run", "-", "--set", f"Data:STA1={HOST}").status == 0
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    done = type_("plan", "check", str(file), "--set", f"Data:STA1={HOST}")
    assert done.status == 0
    assert done.out.startswith(f"testplan/1/Parallel-Step-1/1: {HOST} (")


def test_all_that_is_wrong_is_told_at_once(type_: Type, tmp_path: Path) -> None:
    wrong = plan("true", "true")
    step = wrong["testplan"]["1"]["Serial-Step-1"]
    step["1"]["methud"] = step["1"].pop("method")
    step["2"]["parameters"] = {"get_param": "Data:STA9"}
    before = newest(type_) if type_("plan", "list", "-f", "value").out else None
    for command in ("run", "check"):
        file = tmp_path / "plan.json"
        file.write_text(json.dumps(wrong))
        done = type_("plan", command, str(file), "--set", f"Data:STA1={HOST}")
        assert (done.status, done.out) == (2, "")
        assert done.err.startswith("lab: the plan cannot run")
        for place in ("testplan/1/Serial-Step-1/1", "testplan/1/Serial-Step-1/2"):
            assert any(place in line for line in done.err.splitlines())
        assert "Data:STA9" in done.err
        lines = [line.strip() for line in done.err.splitlines()]
        assert not any(line in lines[0] for line in lines[1:])  # each is said once
    assert before is None or newest(type_) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set", "Data:STA9=x"), "no Data:STA9; there are Data:STA1"),
        (("--set", "Data:STA1"), "'Data:STA1' sets nothing"),
        (("--set", "=x"), "'=x' sets nothing"),
        (("--set", "Data:STA1=a", "--set", "Data:STA1=b"), "is set twice"),
    ],
)
def test_settings_that_are_none(
    type_: Type, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan("true")))
    done = type_("plan", "run", str(file), *options)
    assert done.status == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_file_that_is_not_there(type_: Type, tmp_path: Path) -> None:
    done = type_("plan", "run", str(tmp_path / "none.yaml"))
    assert done.status == 2
    assert "No such file" in done.err
    assert type_("plan", "show", "no-such-plan").status == 2
