"""Processes as the kernel shows them in ``/proc`` (Linux, proc(5))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SMALL = 4096  # bytes, more than any file has that is read at once
MARKER = "LABAPI_ATTEMPT"  # environment variable that every process of an attempt is started with

LISTS = Path(f"/proc/self/task/{os.getpid()}/children").exists()  # CONFIG_PROC_CHILDREN


@dataclass(frozen=True, slots=True)
class Process:
    """One process at one moment.

    :ivar start: clock ticks from the machine's boot to the process's start; pid and start together
        name one process, since a pid alone is used again
    :ivar state: one letter; ``Z`` has ended and waits to be reaped
    """

    pid: int
    parent: int
    session: int
    start: int
    state: str
    name: str

    @property
    def alive(self) -> bool:
        """Say whether the process can still do anything."""
        return self.state not in "ZXx"


def content(file: str | Path) -> bytes:
    """Return what one of the kernel's small files says; open() would ask much about it first.

    :raises OSError: it cannot be read
    """
    number = os.open(file, os.O_RDONLY)
    try:
        return os.read(number, SMALL)
    finally:
        os.close(number)


def read(pid: int) -> Process | None:
    """Return a process, None if there is none of that pid."""
    try:
        line = content(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The name stands in brackets and may itself hold blanks and brackets.
    begin, end = line.find(b"("), line.rfind(b")")
    fields = line[end + 2 :].split()
    name = line[begin + 1 : end].decode(errors="replace")
    return Process(
        pid=pid,
        parent=int(fields[1]),
        session=int(fields[3]),
        start=int(fields[19]),
        state=fields[0].decode(),
        name=name if name.isprintable() else _shown(name),
    )


def _shown(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)


def every() -> Iterator[Process]:
    """Return all processes that this process may see."""
    for name in os.listdir("/proc"):
        if name.isdigit() and (process := read(int(name))) is not None:
            yield process


def marker(pid: int) -> str | None:
    """Return the attempt that a process was started for, None if it cannot be read."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    prefix = f"{MARKER}=".encode()
    for entry in environ.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode(errors="replace")
    return None


def childless() -> bool:
    """Say whether this process has no children at all, alive or ended; one call into the kernel."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def children(pid: int) -> set[int]:
    """Return the pids of a process's children, nothing if there is no such process.

    The list can miss a child while another one ends (proc(5)): what is not in it may still exist.
    """
    if not LISTS:
        return {process.pid for process in every() if process.parent == pid}
    found: set[int] = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            # A thread that has just ended has left its children to another, which comes later.
            with (
                contextlib.suppress(FileNotFoundError, ProcessLookupError),
                open(f"/proc/{pid}/task/{thread}/children", "rb") as file,
            ):
                found.update(map(int, file.read().split()))
    return found


def descendants(pid: int) -> Iterator[int]:
    """Return the pids of all that descends from a process, parents before children."""
    waiting = [pid]
    while waiting:
        below = children(waiting.pop())
        yield from below
        waiting.extend(below)


def boot_id() -> str:
    """Return the id of this run of the kernel; pids and start times hold within one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
