"""What a heartbeat tells of the machine: cheap to read, a flat JSON object."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

from labapi.agent.processes import proc

MIB = 1024 * 1024


def fixed(release: str) -> dict[str, Any]:
    """Return the facts that stay as long as the agent runs."""
    return {
        "release": release,
        "python": platform.python_version(),
        "boot_id": proc.boot_id(),
        "memory_total_mib": _memory().get("MemTotal"),
    }


def current(state: Path) -> dict[str, Any]:
    """Return load and free memory, and the space left in a folder, in MiB."""
    found: dict[str, Any] = {"memory_available_mib": _memory().get("MemAvailable")}
    with contextlib.suppress(OSError):
        found["load1"] = round(os.getloadavg()[0], 2)
    with contextlib.suppress(OSError):
        disk = os.statvfs(state)
        found["disk_free_mib"] = disk.f_bavail * disk.f_frsize // MIB
    return found


def _memory() -> dict[str, int]:
    """Return ``/proc/meminfo`` in MiB."""
    found = {}
    with contextlib.suppress(OSError), open("/proc/meminfo") as file:
        for line in file:
            name, _, rest = line.partition(":")
            found[name] = int(rest.split()[0]) // 1024
    return found
