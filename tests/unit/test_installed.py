"""Entry points are read once, and read again when something is installed."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

import pytest

from labapi import installed

GROUP = "labapi.test.installed"


def install(folder: Path, name: str) -> None:
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = os:getcwd\n")
    later = folder.stat().st_mtime_ns + 1_000_000  # some file systems know no shorter times
    os.utime(folder, ns=(later, later))


def test_what_is_installed_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert not installed.entry_points(GROUP)
    install(tmp_path, "one")
    assert installed.entry_points(GROUP).names == {"one"}
    install(tmp_path, "two")
    assert installed.entry_points(GROUP).names == {"one", "two"}
    monkeypatch.undo()
    assert not installed.entry_points(GROUP)


def test_they_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = installed.entry_points("labapi.scheduler.filters")
    monkeypatch.setattr(metadata, "entry_points", None)
    assert installed.entry_points("labapi.scheduler.filters") == found
