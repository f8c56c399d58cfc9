"""What is mounted where, as the kernel shows it to this process (proc(5), mountinfo)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount.

    :ivar root: what of the file system is mounted
    :ivar point: where
    :ivar kind: type of the file system
    """

    root: str
    point: str
    kind: str


def read() -> list[Mount]:
    """Return all mounts.

    :raises OSError: there is no ``/proc``
    """
    return parse(Path("/proc/self/mountinfo").read_bytes())


def parse(lines: bytes) -> list[Mount]:
    """Return the mounts that ``mountinfo`` names; paths are bytes, with blanks escaped in octal."""
    found = []
    for line in filter(None, lines.split(b"\n")):
        mounted, _, source = line.partition(b" - ")
        root, point = mounted.split(b" ")[3:5]
        found.append(Mount(_path(root), _path(point), source.split(b" ")[0].decode()))
    return found


def _path(escaped: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), escaped))
