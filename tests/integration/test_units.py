"""The units that are shipped, as systemd itself reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab import ROOT
from tests.programs import BIN

UNITS = sorted((ROOT / "etc" / "systemd").glob("*.service"))


def test_there_is_one_for_each_service() -> None:
    names = ["labapi-agent.service", "labapi-api.service", "labapi-conductor.service"]
    assert [unit.name for unit in UNITS] == names


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_all_of_it(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    # Programs and users have to be there for it, so those of this machine stand in.
    text = unit.read_text().replace("/opt/labapi/bin", str(BIN)).replace("User=labapi", "User=root")
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_what_a_unit_promises(unit: Path) -> None:
    options = dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))
    assert options["Type"] == "notify"
    assert options["ExecStart"] == f"/opt/labapi/bin/{unit.stem}"
    assert options["NoNewPrivileges"] == "yes"
    assert options["ProtectSystem"] in ("full", "strict")
    assert ("ExecReload" in options) == (unit.stem == "labapi-api")
    assert ("Delegate" in options) == (unit.stem == "labapi-agent")
