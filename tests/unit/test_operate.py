"""What operators are given to watch a lab with: it names numbers that there are."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from typing import Any

import pytest
import yaml

from tests.lab import ROOT
from tests.middleware.servers import installed

RULES = ROOT / "etc" / "prometheus" / "labapi-rules.yaml"
DASHBOARD = ROOT / "etc" / "grafana" / "labapi.json"
PAGE = (ROOT / "docs" / "operate.md").read_text()
NAME = re.compile(r"\blabapi_(?:conductor|agent|http|info)\w*")

made = runpy.run_path(str(ROOT / "etc" / "grafana" / "dashboard.py"))
FAMILIES: list[Any] = made["families"]()
NUMBERS = {sample.name for family in FAMILIES for sample in family.samples}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_the_dashboard_is_what_the_numbers_are() -> None:
    assert json.loads(DASHBOARD.read_text()) == made["dashboard"](), "run: make samples"


def test_it_asks_for_numbers_that_there_are() -> None:
    asked = set(NAME.findall(" ".join(re.findall(r'"expr": "(.*)"', DASHBOARD.read_text()))))
    assert asked
    assert asked <= NUMBERS


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_is_about_a_number_that_there_is(rule: dict[str, Any]) -> None:
    assert (
        {"alert", "expr", "labels", "annotations"}
        <= set(rule)
        <= {*("alert", "expr", "for", "labels", "annotations")}
    )
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    asked = set(NAME.findall(rule["expr"]))
    assert asked
    assert asked <= NUMBERS
    assert f"`{rule['alert']}`" in PAGE


def test_labels_of_alerts_are_those_of_their_numbers() -> None:
    labels = {sample.name: set(sample.labels) for family in FAMILIES for sample in family.samples}
    for rule in rules():
        for name, given in re.findall(r"(labapi_\w+)\{(.*?)\}", rule["expr"]):
            assert set(re.findall(r"(\w+)=", given)) <= labels[name], rule["alert"]


def test_prometheus_takes_the_rules() -> None:
    done = subprocess.run(
        [installed("promtool"), "check", "rules", RULES],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_lists_the_numbers_of_conductors_and_agents() -> None:
    listed = set(re.findall(r"^\| `(labapi_\w+)", PAGE, re.M))
    there = {n for n in NUMBERS if not n.startswith("labapi_http_") and not n.endswith("_created")}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in there}
    assert listed == shown


def test_the_lines_of_the_log_that_it_explains_are_in_the_code() -> None:
    source = "".join(
        re.sub(r'"\s*\n\s*f?"', "", file.read_text()) for file in (ROOT / "labapi").rglob("*.py")
    )
    source += "works again"
    table = PAGE.partition("| line | what it means")[2].partition("\n\n")[0]
    lines = re.findall(r"^\| `([^`]+)`", table, re.M)
    assert len(lines) > 10
    made_up = re.compile(r": |lab-mq:5672|lab-7|mysql\+pymysql://…|agent_lost|expired|…|\b\d+\b")
    for line in lines:
        for part in made_up.split(line):
            if len(words := part.strip(" .:;()/")) > 3:
                assert words in source, f"{line}: {words!r}"
