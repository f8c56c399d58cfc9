"""Removal of what cases leave in their folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from oslo_log import log

from labapi.agent import mounts

LOG = log.getLogger(__name__)


def remove(folder: Path) -> None:
    """Remove a folder and all in it, but nothing that is mounted there; what stays is logged."""
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return
    except OSError:
        if mounted := _mounts_below(folder):
            LOG.error("%s is not removed: %s is mounted there", folder, mounted[0])
        else:
            shutil.rmtree(folder, onerror=_log)


def _mounts_below(folder: Path) -> list[str]:
    """Return what is mounted at or below a folder."""
    try:
        points = [mount.point for mount in mounts.read()]
    except OSError as error:
        LOG.error("cannot see what is mounted: %s", error)
        return [str(folder)]
    return [point for point in points if Path(point).is_relative_to(folder.resolve())]


def _log(function: Any, path: str, info: Any) -> None:
    LOG.warning("cannot remove %s: %s", path, info[1])
