"""What is mounted is read as the kernel writes it: bytes, with blanks as octal escapes."""

from __future__ import annotations

import os

from labapi.agent import mounts
from labapi.agent.mounts import Mount

LINES = (
    b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
    b"37 35 0:26 / /var/Pr\xc3\xbcfst\xc3\xa4nde/my\\040bench rw - cgroup2 cgroup2 rw\n"
    b"38 35 98:0 / /odd/\xff\\134 rw shared:2 master:1 - ext3 /dev/root rw\n"
)


def test_paths_are_those_of_the_file_system() -> None:
    assert mounts.parse(LINES) == [
        Mount("/mnt1", "/mnt2", "ext3"),
        Mount("/", "/var/Prüfstände/my bench", "cgroup2"),
        Mount("/", os.fsdecode(b"/odd/\xff\\"), "ext3"),
    ]


def test_the_root_of_this_machine_is_mounted() -> None:
    assert "/" in {mount.point for mount in mounts.read()}
