"""A control group for each attempt (cgroup v2, cgroups(7)), where the agent may make one.

Membership is inherited and cannot be shed without the right to write to another group, so a group
holds all that an attempt has started, whatever it did to its session, parent and environment;
``cgroup.kill`` ends all of it at once, faster than it can fork.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from oslo_log import log

from labapi.agent import mounts
from labapi.agent.processes import proc
from labapi.exceptions import ConfigError

LOG = log.getLogger(__name__)

REMOVE_WAIT = 1.0  # seconds that the kernel is given to see a group empty


class Group:
    """The group of one attempt.

    :param path: an existing folder of the cgroup file system
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, pid: int) -> None:
        """Move a process that has not been reaped into the group."""
        # A process that has ended already cannot be moved, and need not be.
        with contextlib.suppress(ProcessLookupError):
            (self._path / "cgroup.procs").write_text(str(pid))

    def empty(self) -> bool:
        """Say whether nothing lives in the group or below it."""
        return b"populated 0" in proc.content(self._path / "cgroup.events")

    def processes(self) -> list[proc.Process]:
        """Return what lives in the group or below it."""
        found = []
        for folder, _, _ in os.walk(self._path):
            with contextlib.suppress(OSError):  # gone, or a threaded group, which lists no pids
                for pid in Path(folder, "cgroup.procs").read_text().split():
                    process = proc.read(int(pid))
                    if process is not None and process.alive:
                        found.append(process)
        return found

    def kill(self) -> None:
        """Send SIGKILL to all, also to what is being forked."""
        with contextlib.suppress(OSError):
            (self._path / "cgroup.kill").write_text("1")

    def remove(self) -> None:
        """Remove the group and those that were made below it."""
        until = time.monotonic() + REMOVE_WAIT
        while True:
            try:
                for folder, below, _ in os.walk(self._path, topdown=False):
                    for name in below:
                        with contextlib.suppress(OSError):  # shows when its parent is removed
                            os.rmdir(os.path.join(folder, name))
                os.rmdir(self._path)
            except FileNotFoundError:
                return
            except OSError as error:
                if time.monotonic() >= until:
                    LOG.warning("cannot remove the control group %s: %s", self._path, error)
                    return
                time.sleep(0.01)
            else:
                return


class Groups:
    """The groups of one agent, below the group that it runs in itself.

    :param base: folder for them
    """

    def __init__(self, base: Path) -> None:
        self._base = base

    def make(self, attempt: str) -> Group | None:
        """Make a group; None if the kernel gives none now."""
        path = self._base / attempt
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            LOG.warning("no control group for attempt %s: %s", attempt, error)
            return None
        return Group(path)

    def left(self) -> dict[str, Group]:
        """Return the groups that an earlier run of this agent has left, by attempt."""
        return {path.name: Group(path) for path in self._base.iterdir() if path.is_dir()}

    def close(self) -> None:
        """Remove the folder of the groups."""
        with contextlib.suppress(OSError):
            self._base.rmdir()


def find(mode: str, agent: str) -> Groups | None:
    """Return where attempts get their groups, None if this agent may not make any.

    :param mode: ``auto``, ``off`` or ``require``
    :param agent: UUID of the agent; names the folder of its groups
    :raises ConfigError: groups are required and cannot be made
    """
    if mode == "off":
        return None
    try:
        base = _own() / f"labapi-{agent}"
        base.mkdir(exist_ok=True)
        _try_out(base)
    except OSError as error:
        if mode == "require":
            raise ConfigError(f"[agent] cgroup: no control groups can be made: {error}") from error
        LOG.info("cases run without control groups: %s", error)
        return None
    return Groups(base)


def _own() -> Path:
    """Return the folder of the group that this process is in.

    :raises OSError: there is no cgroup v2
    """
    mount = next((mount for mount in mounts.read() if mount.kind == "cgroup2"), None)
    if mount is None:
        raise OSError("cgroup v2 is not mounted")
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            inside = line[3:]
            if mount.root != "/" and inside.startswith(mount.root):
                inside = inside[len(mount.root) :]
            return Path(mount.point) / inside.lstrip("/")
    raise OSError("this process is in no cgroup v2")


def _try_out(base: Path) -> None:
    """Check that a process can be moved into a group, which a container may not allow."""
    if not os.access(base / "cgroup.kill", os.W_OK):
        base.rmdir()
        raise OSError("this kernel has no cgroup.kill (Linux 5.14 has)")
    group = base / "probe"
    group.mkdir(exist_ok=True)
    pid = os.posix_spawnp("sleep", ["sleep", "60"], dict(os.environ))
    try:
        (group / "cgroup.procs").write_text(str(pid))
        Group(group).kill()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        Group(group).remove()
