"""docs/developing.md says which files an addition touches: each is made to a copy, and works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labapi.db import migration
from tests.developing.additions import ADDITIONS
from tests.lab import ROOT

PAGE = (ROOT / "docs" / "developing.md").read_text()
HEADING = "## Which files an addition touches"
COPIED = ("labapi", "middleware", "client", "etc", "docs", "tests", "setup.py", "README.md")


def described() -> dict[str, set[str]]:
    """Return the files that the page names, by kind."""
    part = PAGE.partition(HEADING)[2].partition("\n## ")[0]
    kinds = re.split(r"^### (.+)\n", part, flags=re.MULTILINE)[1:]
    return {
        kind: set(re.findall(r"^- `([^`]+)`", text, re.MULTILINE))
        for kind, text in zip(kinds[::2], kinds[1::2], strict=True)
    }


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a copy of the project to which one of each kind was added."""
    root = tmp_path_factory.mktemp("developing") / "labapi"
    root.mkdir()
    for name in COPIED:
        found = ROOT / name
        if found.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
            shutil.copytree(found, root / name, ignore=ignored)
        else:
            shutil.copy(found, root / name)
    for addition in ADDITIONS.values():
        addition.apply(root)
    revision = root / "labapi" / "db" / "migrations" / "versions" / "9999_mood.py"
    revision.write_text(revision.read_text().replace("{newest}", migration.history()[0][0]))
    # Entry points are read from here, not from where the project is installed.
    for folder in (root, root / "middleware", root / "client"):
        run(["setup.py", "-q", "egg_info"], root, folder)
    return root


def run(command: list[str], root: Path, folder: Path) -> None:
    sources = (root, root / "middleware", root / "client")
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sources))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_names_files_that_are_there() -> None:
    part = PAGE.partition("## The way of a case")[2].partition(HEADING)[0]
    named = re.findall(r"`([\w.-]+/[^`]*)`", part)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_page_describes_the_additions() -> None:
    assert list(described()) == list(ADDITIONS)


@pytest.mark.parametrize("kind", ADDITIONS)
def test_the_page_names_the_files(kind: str) -> None:
    named = {
        re.sub(r"NNNN_\w+", "9999_mood", file).replace("NAME", name)
        for file in described()[kind]
        for name in [ADDITIONS[kind].name]
    }
    assert named == ADDITIONS[kind].files


@pytest.mark.parametrize("kind", ADDITIONS)
def test_the_addition_works(kind: str, copy: Path) -> None:
    run(
        ["-c", f"import labapi; assert {str(copy)!r} in labapi.__file__\n{ADDITIONS[kind].show}"],
        copy,
        copy,
    )
