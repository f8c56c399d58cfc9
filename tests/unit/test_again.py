"""A file in which a test failed runs once more, whole, and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WELL = "def test_well(): pass\n"
# Fails the first time.
ONCE = """
from pathlib import Path

def test_once():
    mark = Path(__file__).with_suffix(".mark")
    been, _ = mark.exists(), mark.touch()
    assert been
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / "test_a.py").write_text(WELL + ONCE)
    (tmp_path / "test_b.py").write_text(WELL)
    return tmp_path


def outcome(folder: Path, *more: str) -> tuple[int, str]:
    """Run the tests of a folder and return the status and the last line."""
    alone = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.again", *more],
        cwd=folder,
        env={**os.environ, **alone},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("processes", ["0", "2"])
def test_what_failed_by_chance(files: Path, processes: str) -> None:
    shared = ("-p", "xdist.plugin", "-n", processes)
    status, said = outcome(files, *shared)
    assert (status, said.split(" in ")[0]) == (1, "1 failed, 2 passed")
    status, said = outcome(files, *shared, "--again")
    assert (status, said.split(" in ")[0]) == (0, "2 passed")


def test_what_is_broken_fails_again(files: Path) -> None:
    (files / "test_b.py").write_text("def test_broken(): assert False\n")
    assert outcome(files)[0] == 1
    status, said = outcome(files, "--again")
    assert (status, said.split(" in ")[0]) == (1, "1 failed, 2 passed")
