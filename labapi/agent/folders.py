"""Removal of what cases leave in their folders."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from oslo_log import log

from labapi.agent import mounts

LOG = log.getLogger(__name__)


def remove(folder: str | Path) -> None:
    """Remove a folder with its contents, but nothing that is mounted there; log what stays."""
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return
    except OSError:
        if mounted := _mounts_below(folder):
            LOG.error("%s is not removed: %s is mounted there", folder, mounted[0])
        else:
            _empty(Path(folder))


def _empty(folder: Path) -> None:
    # What is nested a thousand levels deep is too deep for Python.
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        command = ["rm", "-rf", "--one-file-system", "--", str(folder)]
        done = subprocess.run(command, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            LOG.warning(
                "cannot remove %s: %s", folder, done.stderr.decode(errors="replace").strip()[:1000]
            )


def _mounts_below(folder: str | Path) -> list[str]:
    """Return what is mounted at or below a folder."""
    try:
        points = [mount.point for mount in mounts.read()]
    except OSError as error:
        LOG.error("cannot see what is mounted: %s", error)
        return [str(folder)]
    return [point for point in points if Path(point).is_relative_to(Path(folder).resolve())]
