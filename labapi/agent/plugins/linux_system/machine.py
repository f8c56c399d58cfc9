"""A description of this machine, for ``system_information``."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import time
from typing import Any

import psutil

MIB = 1024 * 1024


def describe() -> dict[str, Any]:
    """Return system, processor, memory, disks and addresses as a JSON object; sizes in MiB."""
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return {
        "host": socket.gethostname(),
        "os": _system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu": {
            "model": _cpu_model(),
            "cores": psutil.cpu_count(logical=False),
            "threads": psutil.cpu_count(),
            "load": [round(value, 2) for value in os.getloadavg()],
        },
        "memory": {"total_mib": memory.total // MIB, "available_mib": memory.available // MIB},
        "swap": {"total_mib": swap.total // MIB, "free_mib": swap.free // MIB},
        "disks": _disks(),
        "addresses": _addresses(),
        "uptime_s": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
    }


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _cpu_model() -> str | None:
    with (
        contextlib.suppress(OSError),
        open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file,
    ):
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model", "cpu model"):  # x86, arm, others
                return value.strip()
    return None


def _disks() -> list[dict[str, Any]]:
    """Return the mounted disks; file systems of other machines, which may hang, are left out."""
    found = []
    for part in psutil.disk_partitions(all=False):
        try:
            usage = psutil.disk_usage(part.mountpoint)
        except OSError:
            continue
        found.append(
            {
                "device": part.device,
                "mounted": part.mountpoint,
                "type": part.fstype,
                "total_mib": usage.total // MIB,
                "free_mib": usage.free // MIB,
            }
        )
    return found


def _addresses() -> dict[str, list[str]]:
    """Return the IP addresses of each interface."""
    return {
        name: [a.address for a in entries if a.family in (socket.AF_INET, socket.AF_INET6)]
        for name, entries in psutil.net_if_addrs().items()
    }
