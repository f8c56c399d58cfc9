"""``lab testcase …`` and ``lab run``."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import msgspec
import pytest

from labapi_client.cli import outcome, parameters
from labapi_client.managers.testcases import Case
from tests.client.alone.scripted import Say, Scripted, fault
from tests.client.alone.test_requests import CASE
from tests.client.cli.conftest import Type, Typed, typed
from tests.lab import HOST

RUN = ("testcase", "run", "--host", HOST, "linux_system", "run_shell")


def newest(type_: Type) -> str:
    (case,) = type_("testcase", "list", "--limit", "1", "-f", "json").json()
    return str(case["id"])


def shell(type_: Type, script: str, *options: str) -> Typed:
    return type_("run", *options, HOST, "--", "sh", "-c", script)


def test_run(type_: Type) -> None:
    done = type_(*RUN, "command=echo", "args=one", "args=two words")
    assert (done.status, done.out) == (0, "one two words\n")
    assert done.err.startswith(f"PASS: linux_system.run_shell on {HOST}, ")


def test_run_the_short_way(type_: Type) -> None:
    done = type_("run", HOST, "--timeout", "60", "--", "echo", "--url", "-v", "--", "x")
    assert (done.status, done.out) == (0, "--url -v -- x\n")


def test_run_without_a_program(type_: Type) -> None:
    done = type_("run", HOST, "--")
    assert (done.status, done.out) == (2, "")
    assert "there is no program to run" in done.err


def test_a_quiet_run_says_nothing(type_: Type) -> None:
    done = shell(type_, "true", "-q")
    assert (done.status, done.out, done.err) == (0, "", "")


def test_fail_is_1(type_: Type) -> None:
    done = shell(type_, "echo no; exit 3")
    assert (done.status, done.out) == (1, "no\n")
    assert "FAIL" in done.err
    assert "exit code 3" in done.err


def test_an_error_of_the_lab_is_2(type_: Type) -> None:
    done = type_("run", HOST, "--", "/no/such/program")
    assert done.status == 2
    assert "ERROR" in done.err
    assert "cannot_start" in done.err


def test_a_timeout_is_3(type_: Type) -> None:
    done = shell(type_, "sleep 60", "--timeout", "0.2")
    assert done.status == 3
    assert "TIMEOUT" in done.err


def test_cancelled_is_4(type_: Type) -> None:
    case = shell(type_, "sleep 60", "--detach").out.strip()
    assert type_("testcase", "cancel", case).status == 0
    assert type_("testcase", "wait", case).status == 4
    assert type_("testcase", "cancel", case).status == 2  # it is finished


def test_each_is_cancelled_whatever_became_of_those_before(type_: Type) -> None:
    ended, runs = (shell(type_, f"sleep {n}", "--detach").out.strip() for n in (0, 60))
    assert type_("testcase", "wait", ended).status == 0
    done = type_("testcase", "cancel", "no-such-case", ended, runs)
    assert (done.status, done.err.count("lab: ")) == (2, 2)
    assert type_("testcase", "wait", runs).status == 4


def test_a_lab_that_goes_away_while_it_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labapi_client.following.PATIENCE", 0.1)
    with Scripted(Say(202, CASE), fault(503, "serviceUnavailable")) as server:
        done = typed("run", "--url", server.url, HOST, "--", "true")
    assert done.status == 2
    assert "'lab testcase wait --output 1' comes back to it" in done.err


def test_detach_and_come_back(type_: Type) -> None:
    case = shell(type_, "echo here; exit 1", "--detach").out.strip()
    done = type_("testcase", "wait", "--output", case)
    assert (done.status, done.out) == (1, "here\n")
    assert type_("testcase", "output", case).out == "here\n"
    assert type_("testcase", "output", "--offset", "2", case).out == "re\n"
    assert type_("testcase", "output", "--follow", case).out == "here\n"


def test_the_worst_of_several_counts(type_: Type) -> None:
    cases = [shell(type_, f"exit {n}", "--detach").out.strip() for n in (0, 1)]
    assert type_("testcase", "wait", *cases).status == 1


def test_wait_no_longer(type_: Type) -> None:
    done = shell(type_, "sleep 60", "--wait", "0.3")
    assert done.status == 2
    assert "is not finished yet; it goes on" in done.err
    assert type_("testcase", "cancel", newest(type_)).status == 0


def test_rerun(type_: Type) -> None:
    assert shell(type_, "echo again", "--timeout", "77", "--priority", "3").status == 0
    first = newest(type_)
    done = type_("testcase", "rerun", first)
    assert (done.status, done.out) == (0, "again\n")
    second = type_("testcase", "show", newest(type_), "-f", "json").json()
    assert second["id"] != first
    assert (second["timeout"], second["priority"]) == (77.0, 3)


def test_list_and_show(type_: Type) -> None:
    assert shell(type_, "printf 'a\\033[31mb'").status == 0
    case = newest(type_)
    (listed,) = type_(
        *("testcase", "list", "--host", HOST, "--result", "PASS", "--limit", "1", "-f", "json")
    ).json()
    assert listed["id"] == case
    assert type_("testcase", "show", case, "-f", "json").json()["output"] == "a\x1b[31mb"
    assert "a?[31mb" in type_("testcase", "show", case).out


def test_why_of_a_finished_case(type_: Type) -> None:
    shell(type_, "exit 9")
    assert "FAIL" in type_("testcase", "why", newest(type_)).out


def test_why_of_a_case_that_waits(type_: Type) -> None:
    assert type_("service", "disable", HOST, "--reason", "test").status == 0
    try:
        case = shell(type_, "true", "--detach").out.strip()
        done = type_("testcase", "why", case)
        assert done.out.startswith("waits ")
        assert type_("service", "drain", HOST).status == 0
    finally:
        assert type_("service", "enable", HOST).status == 0
    assert type_("testcase", "wait", case).status == 0


def test_parameters_are_checked_before_they_are_sent(type_: Type) -> None:
    assert shell(type_, "true").status == 0
    before = newest(type_)
    for words, said in (
        (("comand=ls",), "parameters: there is no 'comand'; known: args, command"),
        ((), "parameters: 'command' is missing"),
        (("command",), "'command' is no parameter"),
        (("command=a", "command=b"), "command is given twice"),
        (("{]",), "not JSON"),
        (("@/no/such/file",), "/no/such/file: No such file"),
    ):
        done = type_(*RUN, *words)
        assert done.status == 2, words
        assert said in done.err
        assert done.err.count("\n") == 1
    assert newest(type_) == before


def test_parameters_of_the_type_that_the_schema_says(type_: Type) -> None:
    done = type_(
        *("testcase", "run", "--host", HOST, "linux_system", "ping", "host=127.0.0.1", "count=x")
    )
    assert (done.status, done.err) == (2, "lab: count: 'x' is no integer\n")


@pytest.mark.parametrize(
    "schema", [True, [1], *({"properties": {"a": {word: 5}}} for word in ("type", "anyOf"))]
)
def test_a_schema_of_a_stranger(schema: Any) -> None:
    assert parameters.read(["a=1"], schema) == {"a": "1"}
    parameters.check({"a": "1"}, schema)


def test_parameters_from_a_file_and_as_json(type_: Type, tmp_path: Path) -> None:
    file = tmp_path / "parameters.json"
    file.write_text(json.dumps({"command": "echo", "args": ["from a file"]}))
    assert type_(*RUN, f"@{file}").out == "from a file\n"
    assert type_(*RUN, f"@{file}", '{"args": ["from JSON"]}').out == "from JSON\n"
    assert type_(*RUN, f"@{file}", "args=typed").out == "typed\n"


@pytest.mark.parametrize("content", [b"[1]", b"\xff\xfe", b"{" * 100000])
def test_a_file_that_has_no_parameters(type_: Type, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "parameters.json"
    file.write_bytes(content)
    done = type_(*RUN, f"@{file}")
    assert done.status == 2
    assert done.err.count("\n") == 1


def test_the_finished_case_as_json(type_: Type) -> None:
    done = shell(type_, "echo out; exit 3", "-f", "json")
    assert done.status == 1
    case = json.loads(done.out)
    assert (case["state"], case["result"], case["exit_code"]) == ("finished", "FAIL", 3)
    assert (case["host"], case["output"]) == (HOST, "out\n")
    assert case == type_("testcase", "show", case["id"], "-f", "json").json()
    several = type_(*RUN[:2], "--count", "2", *RUN[4:], "command=true", "-f", "json").json()
    assert [case["result"] for case in several] == ["PASS", "PASS"]


def test_junit(type_: Type, tmp_path: Path) -> None:
    file = tmp_path / "results.xml"
    assert shell(type_, "printf 'bad \\001 thing'; exit 1", "--junit", str(file)).status == 1
    (suite,) = ET.parse(file).getroot()
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("1", "1")
    (case,) = suite
    assert case.attrib["name"] == "linux_system.run_shell"
    assert case.attrib["classname"] == HOST
    assert case.find("failure") is not None
    assert case.findtext("system-out") == "bad \ufffd thing"


def test_a_junit_file_that_cannot_be_written(type_: Type, tmp_path: Path) -> None:
    """It is said before a case has run for hours."""
    before = newest(type_)
    for file, said in (
        (tmp_path / "none" / "results.xml", "there is no such directory"),
        (tmp_path, "is a directory"),
    ):
        done = shell(type_, "true", "--junit", str(file))
        assert done.status == 2
        assert done.err.endswith(f"argument --junit: {file}: {said}\n")
    assert newest(type_) == before


def test_a_junit_file_is_xml_whatever_the_lab_says(tmp_path: Path) -> None:
    ended = {**CASE, "id": "\x01", "reason": "\x02", "state": "finished", "result": "ERROR"}
    file = tmp_path / "results.xml"
    outcome.write_junit(file, [msgspec.convert(ended, Case)])
    assert ET.parse(file).find(".//error[@type='\ufffd']") is not None


def test_plugins_and_limits(type_: Type) -> None:
    rows = type_("plugin", "list", "-f", "json").json()
    assert {"plugin": "linux_system", "method": "run_shell", "hosts": 1} in [
        {key: row[key] for key in ("plugin", "method", "hosts")} for row in rows
    ]
    assert type_("limits", "-f", "json").json()[0]["limit"] == 6000


def test_services(type_: Type) -> None:
    (agent,) = type_("service", "list", "--service", "labapi-agent", "-f", "json").json()
    assert (agent["host"], agent["status"]) == (HOST, "enabled")
    assert type_("service", "disable", "nowhere").status == 2
