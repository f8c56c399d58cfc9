"""docs/ci.md: what its recipes have lab do is done."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.client.cli.conftest import Type
from tests.lab import ROOT
from tests.programs import BIN

COUNTED = ("tests", "failures")
PLAN = """
name: a plan
environment: {Data: {STA1: 192.0.2.99}}
testplan:
  1:
    Serial-Step-1:
      1: {plugin: linux_system, host: {get_param: "Data:STA1"}, method: system_information}
"""
PAGE = (ROOT / "docs" / "ci.md").read_text()


def recipes() -> dict[str, str]:
    """Return the line of each recipe that calls lab, by the name of the CI system."""
    found = {}
    for part in PAGE.split("\n## ")[1:]:
        (line,) = re.findall(r"^\s*(?:- (?:run: )?)?(lab .*)$", part, re.M)
        found[part.partition("\n")[0]] = line
    return found


def test_there_is_a_recipe_for_each() -> None:
    assert set(recipes()) == {"GitLab", "GitHub Actions", "Jenkins", "A test plan"}


@pytest.mark.parametrize("system", recipes())
def test_a_recipe(system: str, type_: Type, tmp_path: Path) -> None:
    line = recipes()[system]
    (tmp_path / "plan.yaml").write_text(PLAN)
    for command, status in ((line, 0), (re.sub(r"-- .*", "-- false", line), 1)):
        if command == line and status:
            continue  # this recipe runs no program that could fail
        done = subprocess.run(
            ["bash", "-e", "-c", command],
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == status, done.stderr
        file = shlex.split(line)[shlex.split(line).index("--junit") + 1]
        suites = list(ET.parse(tmp_path / file).getroot())
        counts = [sum(int(suite.attrib[name]) for suite in suites) for name in COUNTED]
        assert counts == [1, status]
