"""The children of this process, and which attempt each of them belongs to.

The kernel keeps one set of children for a process, so there is one :data:`CHILDREN` here. As a
subreaper (prctl(2), ``PR_SET_CHILD_SUBREAPER``) this process becomes the parent of every process
below it whose own parent ends: whatever an attempt starts stays below this process, through double
forks and ``setsid`` alike. So what an attempt has left behind is found among our children.

An orphan is known by its session, by its environment, or, when it has shed both, by the time of its
start: it belongs to the one attempt that ran then, or to the last of several to end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from oslo_log import log

from labapi.agent.processes import proc

LOG = log.getLogger(__name__)

PR_SET_CHILD_SUBREAPER = 36
BUSY_PERIODS = 1000  # how many past periods with running attempts are remembered
TICKS = os.sysconf("SC_CLK_TCK")


class Owner(Protocol):
    """What an attempt shows of itself, to find its processes.

    :ivar attempt: the id in the environment of its processes
    :ivar started: clock ticks since boot at which it started
    :ivar sessions: the sessions that were made for it
    """

    attempt: str
    started: int
    sessions: set[int]


def ticks() -> int:
    """Return the clock ticks since boot, as process start times are given."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS)


def send(process: proc.Process, number: int) -> bool:
    """Send a signal to a process and to no other that has its pid; False if that is forbidden."""
    with contextlib.suppress(ProcessLookupError):
        try:
            handle = os.pidfd_open(process.pid)
        except PermissionError:
            return False
        try:
            now = proc.read(process.pid)
            if now is not None and now.start == process.start:
                signal.pidfd_send_signal(handle, number)
        except PermissionError:
            return False
        finally:
            os.close(handle)
    return True


class Children:
    """Knows the children of this process by attempt."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._mains: dict[int, Owner] = {}
        self._owners: list[Owner] = []
        self._busy_since: int | None = None
        self._busy: deque[tuple[int, int]] = deque(maxlen=BUSY_PERIODS)
        self._ended_before: set[tuple[int, int]] = set()

    def adopt_orphans(self) -> None:
        """Become the parent of orphans below this process."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            LOG.warning(
                "cannot adopt orphans (%s): what a case leaves behind in a session of its own and"
                " with an environment of its own is not found",
                os.strerror(ctypes.get_errno()),
            )

    def begin(self, owner: Owner) -> None:
        """Note an attempt that runs from now on."""
        with self._lock:
            if not self._owners:
                self._busy_since = owner.started
            self._owners.append(owner)

    def end(self, owner: Owner) -> None:
        """Note that an attempt is over; from now on its remaining processes belong to none."""
        with self._lock:
            self._owners.remove(owner)
            if not self._owners and self._busy_since is not None:
                self._busy.append((self._busy_since, ticks()))
                self._busy_since = None

    def spawn(
        self, owner: Owner, start: Callable[[], subprocess.Popen[bytes]]
    ) -> subprocess.Popen[bytes]:
        """Start a process that leads a session of its own and note whose it is."""
        with self._lock:
            child = start()
            # The pid is in use again, so the session that had this number is empty.
            for other in self._owners:
                other.sessions.discard(child.pid)
            owner.sessions.add(child.pid)
            self._mains[child.pid] = owner
        return child

    def reap(self, child: subprocess.Popen[bytes]) -> int | None:
        """Return the exit status of a process that ``spawn`` started, None if it runs."""
        with self._lock:
            status = child.poll()
            if status is not None:
                owner = self._mains.pop(child.pid, None)
                if owner is not None and not _group_exists(child.pid):
                    owner.sessions.discard(child.pid)  # the number is free for others now
        return status

    def quiet(self, owner: Owner) -> bool:
        """Say whether an attempt has left nothing; its ended orphans are reaped.

        This is cheap when there are no orphans at all, which is the usual case.
        """
        own_session = os.getsid(0)
        with self._lock:
            if owner in self._mains.values():
                return False
            for orphan in self._orphans(own_session):
                if self._whose(orphan)[0] is owner:
                    if orphan.alive:
                        return False
                    _reap(orphan.pid)
            for session in list(owner.sessions):
                _reap_group(session)
                if _group_exists(session):
                    return False
                owner.sessions.discard(session)
        return True

    def of(self, owner: Owner) -> list[proc.Process]:
        """Return the living processes of an attempt."""
        own_session = os.getsid(0)
        with self._lock:
            roots = [p for pid, o in self._mains.items() if o is owner and (p := proc.read(pid))]
            roots += [p for p in self._orphans(own_session) if self._whose(p)[0] is owner]
        return [process for root in roots for process in _tree(root) if process.alive]

    def strike(self, owner: Owner, found: list[proc.Process]) -> None:
        """Send SIGKILL to whole process groups: nothing in them escapes by forking.

        :param found: living processes of the attempt
        """
        with self._lock:
            for session in list(owner.sessions):
                # A group is the attempt's own as long as it has a member that is: the number of
                # one that has run empty may be in use elsewhere.
                if (
                    session in self._mains
                    or any(process.session == session for process in found)
                    or _reap_group(session)
                ):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.killpg(session, signal.SIGKILL)

    def sweep(self) -> list[proc.Process]:
        """End what attempts that are over have left behind; return it.

        An ended orphan of no running attempt is reaped when it is met a second time: if it is the
        child of other code of this process, that code has had the time to wait for it.
        """
        own_session = os.getsid(0)
        with self._lock:
            orphans = [(p, *self._whose(p)) for p in self._orphans(own_session)]
        left = [p for p, _, is_left in orphans if is_left]
        alive = [process for root in left for process in _tree(root) if process.alive]
        for process in alive:
            send(process, signal.SIGKILL)
        ended = {(p.pid, p.start) for p, owner, _ in orphans if owner is None and not p.alive}
        for pid, _start in ended & self._ended_before:
            _reap(pid)
        self._ended_before = ended
        return alive

    def _orphans(self, own_session: int) -> list[proc.Process]:
        """Return the children that attempts may have left; hold the lock."""
        if proc.childless():
            return []
        found = (proc.read(pid) for pid in proc.children(os.getpid()) - self._mains.keys())
        # What has our own session was started by other code of this process.
        return [process for process in found if process and process.session != own_session]

    def _whose(self, orphan: proc.Process) -> tuple[Owner | None, bool]:
        """Return an orphan's attempt, and whether the orphan is left over from an ended one."""
        marker = proc.marker(orphan.pid) if orphan.alive else None
        for owner in self._owners:
            if orphan.session in owner.sessions or marker == owner.attempt:
                return owner, False
        if marker is not None:
            return None, True
        candidates = [owner for owner in self._owners if owner.started <= orphan.start]
        if candidates:
            return (candidates[0] if len(candidates) == 1 else None), False
        return None, any(since <= orphan.start <= until for since, until in self._busy)


def _tree(root: proc.Process) -> Iterator[proc.Process]:
    """Return a process and what descends from it."""
    yield root
    yield from filter(None, map(proc.read, proc.descendants(root.pid)))


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _reap_group(group: int) -> bool:
    """Reap our ended children in a process group; say whether there were any."""
    some = False
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            some = True
    return some


CHILDREN = Children()
