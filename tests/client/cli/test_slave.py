"""``lab slave …``."""

from __future__ import annotations

import csv
import io

import yaml

from tests.client.cli.conftest import Type
from tests.lab import ADDRESS, HOST
from tests.processes import until


def test_list(type_: Type) -> None:
    (slave,) = type_("slave", "list", "-f", "json").json()
    assert slave == {
        "id": 1,
        "host": HOST,
        "address": ADDRESS,
        "state": "up",
        "status": "enabled",
        "plugins": "linux_system,build_server,http",
    }


def test_list_in_each_format(type_: Type) -> None:
    columns = ("-c", "id", "-c", "host")
    assert type_("slave", "list", "-f", "value", *columns).out == f"1 {HOST}\n"
    assert yaml.safe_load(type_("slave", "list", "-f", "yaml", *columns).out) == [
        {"id": 1, "host": HOST}
    ]
    rows = list(csv.reader(io.StringIO(type_("slave", "list", "-f", "csv", *columns).out)))
    assert rows == [["id", "host"], ["1", HOST]]
    assert f"|  1 | {HOST} |" in type_("slave", "list", *columns).out


def test_a_column_that_is_not_there(type_: Type) -> None:
    typed = type_("slave", "list", "-c", "colour")
    assert typed.status == 2
    assert "['colour']" in typed.err
    assert typed.err.count("\n") == 1


def test_a_format_that_is_not_there(type_: Type) -> None:
    assert type_("slave", "list", "-f", "xml").status == 2


def test_show_by_name_and_by_number(type_: Type) -> None:
    by_name = type_("slave", "show", HOST, "-f", "json").json()
    assert by_name["methods"]["linux_system"]["run_shell"].startswith("Run a program")
    assert type_("slave", "show", "1", "-f", "json").json()["uuid"] == by_name["uuid"]


def test_notes_of_a_host(type_: Type) -> None:
    assert type_("slave", "set", HOST, "rack=r7", "owner=lee=ann").status == 0
    table = type_("slave", "list", "--long").out
    assert "rack=r7" in table
    shown = type_("slave", "show", HOST, "-f", "json", "-c", "metadata").json()
    assert shown["metadata"] == {"owner": "lee=ann", "rack": "r7"}
    assert type_("slave", "unset", HOST, "rack", "owner").status == 0
    assert type_("slave", "show", HOST, "-f", "json").json()["metadata"] == {}


def test_a_host_that_is_benched(type_: Type) -> None:
    assert type_("slave", "bench", HOST).status == 2  # a reason is needed
    assert type_("slave", "bench", HOST, "--reason", "the fan is loud").status == 0
    shown = type_("slave", "show", HOST, "-f", "json").json()
    assert (shown["health"], shown["bad_reason"]) == ("bad", "the fan is loud")
    until(lambda: type_("slave", "list", "--health", "bad", "-f", "json").json())
    assert type_("slave", "unbench", HOST).status == 0
    assert type_("slave", "show", HOST, "-f", "json").json()["health"] == "good"


def test_what_runs_on_a_host(type_: Type) -> None:
    case = type_("run", "--detach", HOST, "--", "sleep", "60").out.strip()
    try:
        assert f"case={case} project_id=noauth until=" in type_("slave", "show", HOST).out
    finally:
        assert type_("testcase", "cancel", case).status == 0
        assert type_("testcase", "wait", case).status == 4


def test_a_note_without_a_value(type_: Type) -> None:
    typed = type_("slave", "set", HOST, "rack")
    assert (typed.status, typed.err) == (
        2,
        "lab: 'rack' is no note; expected KEY=VALUE, such as rack=r7\n",
    )


def test_an_error_is_one_line_with_the_request(type_: Type) -> None:
    typed = type_("slave", "show", "nowhere")
    assert typed.status == 2
    assert typed.out == ""
    assert typed.err.startswith("lab: there is no slave nowhere")
    assert "(req-" in typed.err
    assert typed.err.count("\n") == 1


def test_control_characters_do_not_reach_the_terminal(type_: Type) -> None:
    type_("slave", "set", HOST, "trap=\x1b]0;pwned\x07\x9b31m\u202e")
    try:
        table = type_("slave", "list", "--long").out
        assert "trap=?]0;pwned??31m?" in table
        assert type_("slave", "show", HOST).out.isprintable() is False  # line ends only
        assert all(c.isprintable() or c == "\n" for c in type_("slave", "show", HOST).out)
        shown = type_("slave", "show", HOST, "-f", "json")
        assert all(c.isprintable() or c == "\n" for c in shown.out)
        assert shown.json()["metadata"]["trap"] == "\x1b]0;pwned\x07\x9b31m\u202e"
    finally:
        type_("slave", "unset", HOST, "trap")
