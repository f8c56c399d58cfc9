"""The folders of cases are removed, and nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from labapi.agent import folders


def test_a_folder_goes_with_all_in_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    folder = tmp_path / "case"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").touch()
    (folder / "link").symlink_to(outside)
    folders.remove(folder)
    assert not folder.exists()
    assert (outside / "file").exists()
    folders.remove(folder)  # gone already


@pytest.mark.parametrize("parent", ["plain", "Prüfstände", "back\\slash", "cr\rlf\n"])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_what_a_case_has_mounted_is_not_emptied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, parent: str
) -> None:
    tmp_path = tmp_path / parent
    tmp_path.mkdir()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    point = tmp_path / "case" / "mount point"
    point.mkdir(parents=True)
    mount = subprocess.run(["mount", "--bind", str(precious), str(point)], check=False)
    if mount.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        folders.remove(tmp_path / "case")
        assert (precious / "file").exists()
        assert "mount point is mounted there" in caplog.text
    finally:
        subprocess.run(["umount", str(point)], check=True)
    folders.remove(tmp_path / "case")
    assert not (tmp_path / "case").exists()
    assert (precious / "file").exists()


def test_a_folder_that_is_nested_too_deep_for_python_goes_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    at = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    folders.remove(folder)
    assert not folder.exists()
    assert not caplog.records
