"""Entry points of what is installed here.

``importlib.metadata`` reads those of all distributions each time it is asked, and the scheduler
asks for each of its filters: that took most of a program's start. Here a group is read once.
"""

from __future__ import annotations

import functools
import os
import sys
from importlib import metadata


def entry_points(group: str) -> metadata.EntryPoints:
    """Return the entry points of a group, also of what was installed a moment ago."""
    return _of(group, tuple((folder, _changed(folder)) for folder in sys.path))


@functools.lru_cache(maxsize=32)
def _of(group: str, _state: tuple[tuple[str, int], ...]) -> metadata.EntryPoints:
    return metadata.entry_points(group=group)


def _changed(folder: str) -> int:
    """Return when something came to a folder, or went, in ns; 0 if it isn't there."""
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0
