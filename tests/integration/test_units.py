"""The units that are shipped, as systemd itself reads them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.lab import ROOT
from tests.middleware.servers import installed
from tests.programs import BIN

UNITS = sorted((ROOT / "etc" / "systemd").glob("*.service"))


def test_there_is_one_for_each_service() -> None:
    names = ["labapi-agent.service", "labapi-api.service", "labapi-conductor.service"]
    assert [unit.name for unit in UNITS] == names


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_all_of_it(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    # Programs and users have to be there for it, so those of this machine stand in.
    text = unit.read_text().replace("/opt/labapi/bin", str(BIN)).replace("User=labapi", "User=root")
    copy.write_text(text)
    done = subprocess.run(
        [installed("systemd-analyze"), "verify", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    # It looks at the units that are installed here as well.
    ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, ours) == (0, [])


def test_an_agent_is_not_killed_before_its_cases_have_had_their_time() -> None:
    (text,) = (unit.read_text() for unit in UNITS if unit.stem == "labapi-agent")
    (drain,) = re.findall(r"^Environment=OS_AGENT__DRAIN_TIMEOUT=(\d+)$", text, re.MULTILINE)
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert int(stop) == int(drain) + 60


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_what_a_unit_promises(unit: Path) -> None:
    options = dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))
    assert options["Type"] == "notify"
    assert options["ExecStart"] == f"/opt/labapi/bin/{unit.stem}"
    assert options["NoNewPrivileges"] == "yes"
    assert options["ProtectSystem"] in ("full", "strict")
    assert options["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert ("Delegate" in options) == (unit.stem == "labapi-agent")
