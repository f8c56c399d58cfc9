"""Cases that name no host, and several cases at once."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.cli.conftest import Type
from tests.lab import HOST


@pytest.fixture(autouse=True)
def rack(type_: Type) -> Iterator[None]:
    assert type_("slave", "set", HOST, "rack=r7").status == 0
    yield
    assert type_("slave", "unset", HOST, "rack").status == 0


def test_a_host_and_what_it_has_to_fulfil(type_: Type) -> None:
    done = type_("run", HOST, "--requires", "rack=r7", "--", "true")
    assert done.status == 2
    assert "drop it or --requires" in done.err


def test_a_requirement_that_no_host_has_ever_met(type_: Type) -> None:
    done = type_("run", "--requires", "rck=r7", "--", "true")
    assert done.status == 2
    assert "did you mean 'rack'?" in done.err


def test_a_dry_run(type_: Type) -> None:
    done = type_("run", "--requires", "rack=r7", "--dry-run", "--", "true")
    assert (done.status, done.out) == (0, f"{HOST} (8 free)\n"), done.err
    done = type_(
        *("run", "--requires", "rack=r8", "--on-no-host", "wait", "--dry-run", "--", "true")
    )
    assert done.status == 2
    assert done.out == (
        f"hosts turned away: 1 by requires rack=r8\n"
        f"nearest: {HOST}; requires rack=r8: its rack is r7\n"
    )


def test_why_a_case_waits_for_a_host(type_: Type) -> None:
    case = type_(
        *("run", "--requires", "rack=r8", "--on-no-host", "wait", "--detach", "--", "true")
    ).out.strip()
    try:
        lines = type_("testcase", "why", case).out.splitlines()
        assert lines[0].startswith("waits for a host, place 1")
        assert f"nearest: {HOST}; requires rack=r8: its rack is r7" in lines
        shown = type_("testcase", "show", case).out
        assert "nearest.lacks=requires rack=r8: its rack is r7 " in shown
        assert "nearest.until=- " in shown
        assert "| requires=rack=r8 " in shown
    finally:
        assert type_("testcase", "cancel", case).status == 0


def test_a_case_that_finds_no_host(type_: Type) -> None:
    done = type_("run", "--requires", "!rack", "--on-no-host", "fail", "--", "true")
    assert done.status == 2
    assert "ERROR: linux_system.run_shell: no_valid_host (" in done.err


def test_a_case_on_each_host(type_: Type) -> None:
    for hosts in ("all", HOST):
        done = type_("run", "--hosts", hosts, "--", "echo", "here")
        assert (done.status, done.out) == (0, "here\n"), done.err


def test_hosts_that_would_do(type_: Type) -> None:
    listed = type_("slave", "list", "--requires", "rack=r7", "--free", "-f", "value", "-c", "host")
    assert listed.out == f"{HOST}\n"
    wanted = ("--plugin", "http", "--method", "get", "--state", "up")
    assert type_("slave", "list", *wanted, "-f", "value", "-c", "host").out == f"{HOST}\n"
    assert type_("slave", "list", "--metadata", "rack=r9", "-f", "json").json() == []


def test_a_host_that_fulfils_what_is_required(type_: Type) -> None:
    done = type_("run", "--requires", "rack=r7", "--prefer", "load1 < 90", "--", "echo", "here")
    assert (done.status, done.out) == (0, "here\n"), done.err
    assert f"on {HOST}" in done.err


def test_parameters_are_checked_without_a_host_too(type_: Type) -> None:
    run = ("testcase", "run", "--requires", "rack=r7", "linux_system")
    assert type_(*run, "run_shell", "command=echo", "args=a", "args=b").out == "a b\n"
    done = type_(*run, "ping", "host=127.0.0.1", "count=many")
    assert (done.status, done.err) == (2, "lab: count: 'many' is no integer\n")


def test_no_host_at_the_moment(type_: Type) -> None:
    assert type_("service", "disable", HOST).status == 0
    try:
        done = type_("run", "--requires", "rack=r7", "--on-no-host", "fail", "--", "true")
    finally:
        assert type_("service", "enable", HOST).status == 0
    assert done.status == 2
    assert "no_valid_host" in done.err


def test_several_equal_cases(type_: Type, tmp_path: Path) -> None:
    file = tmp_path / "results.xml"
    done = type_("run", "--count", "3", "--junit", str(file), "--", "echo", "one")
    assert (done.status, done.out) == (0, "one\none\none\n"), done.err
    assert ET.parse(file).getroot()[0].attrib["tests"] == "3"


def test_a_rerun_asks_for_the_same(type_: Type) -> None:
    case = type_("run", "--requires", "rack=r7", "--detach", "--", "echo", "x").out.strip()
    assert type_("testcase", "wait", case).status == 0
    done = type_("testcase", "rerun", case, "--detach")
    again = type_("testcase", "show", done.out.strip(), "-f", "json").json()
    assert again["placement"] == {"requires": ["rack=r7"]}
