"""Plans as they are sent: as they are, or with values of their environment replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from labapi_client.documents import JSON, MAX_FILE, YAML, document
from labapi_client.exceptions import BadDocument

PLAN = {"environment": {"Data": {"STA1": "192.0.2.1", "count": 3}}, "testplan": {"1": {}}}
TEXT = """\
# of a comment, nothing is left
environment: &all
  Data: {STA1: 192.0.2.1, count: 3, on: yes}
other: *all
testplan: {1: {}}
"""


def read(found: bytes) -> Any:
    return yaml.safe_load(found)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (PLAN, JSON),
        (" \n{}", JSON),
        (b"{}", JSON),
        ("name: x", YAML),
        (b"\xff\xfe", YAML),
        ("", YAML),
    ],
)
def test_content_says_what_it_is(given: Any, kind: str) -> None:
    assert document(given).kind == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [("p.json", JSON), ("p.yaml", YAML), ("p.YML", YAML), ("p", JSON), ("p.txt", JSON)],
)
def test_the_name_of_a_file_says_it_first(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_bytes(b" {} # as it is\n")
    found = document(tmp_path / name)
    assert (found.data, found.kind) == (b" {} # as it is\n", kind)


def test_no_more_is_read_than_makes_sense(tmp_path: Path) -> None:
    with pytest.raises(BadDocument, match=f"larger than {MAX_FILE} bytes"):
        document(Path("/dev/zero"))
    with pytest.raises(OSError, match="No such file"):
        document(tmp_path / "none")


@pytest.mark.parametrize("text", [json.dumps(PLAN), TEXT], ids=["json", "yaml"])
def test_values_of_the_environment_are_replaced(text: str) -> None:
    found = document(text, {"Data:STA1": "lab-1", "Data:count": "5"})
    plan = read(found.data)
    assert plan["environment"]["Data"]["STA1"] == "lab-1"
    assert plan["environment"]["Data"]["count"] == 5
    assert found.kind == document(text).kind
    before = read(text.encode())
    del plan["environment"], before["environment"]
    assert plan == before  # an alias of the environment, too


def test_a_text_stays_a_text() -> None:
    for text in (json.dumps(PLAN), TEXT):
        plan = read(document(text, {"Data:STA1": "123"}).data)
        assert plan["environment"]["Data"]["STA1"] == "123"


def test_yaml_is_read_by_the_lab_alone() -> None:
    """Words that some read as booleans are handed on as they were written."""
    text = "environment: {a: b}\non: yes\nat: 2026-11-21\n"
    assert b"\non: yes\nat: 2026-11-21\n" in document(text, {"a": "lab-1"}).data


def test_a_bomb_of_aliases_does_not_go_off() -> None:
    lines = ["environment: {a: b}", "x0: &x0 [1, 1]"]
    lines += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 20)]
    assert len(document("\n".join(lines), {"a": "c"}).data) < 5000


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        (json.dumps(PLAN), "Data:STA9", "no Data:STA9; there are Data:STA1, Data:count"),
        (TEXT, "Data:STA9", "no Data:STA9; there are STA1, count, on"),
        (json.dumps(PLAN), "Data:STA1:x", "no Data:STA1:x"),
        (TEXT, "Data:STA1:x", "no Data:STA1:x"),
        (json.dumps(PLAN), "testplan:1", "no testplan:1"),
        ("{}", "a", "no a"),
        ("name: x", "a", "no a"),
        ('{"a": 1, "a": 2}', "a", "'a' stands twice"),
        ("{", "a", "not JSON"),
        ("{" * 100_000, "a", "not JSON"),
        ("a: [", "a", "not YAML"),
        ("- " * 100_000, "a", "not YAML"),
        ("", "a", "no a"),
        ("[1]", "a", "no a"),
    ],
)
def test_what_cannot_be_replaced(text: str, path: str, said: str) -> None:
    with pytest.raises(BadDocument, match=said):
        document(text, {path: "x"})
