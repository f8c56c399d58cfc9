"""The processes of one attempt, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from labapi.agent.processes import proc
from labapi.agent.processes.cgroup import Group, Groups
from labapi.agent.processes.children import CHILDREN, send, ticks

KILL_WAIT = 5.0  # seconds to wait for processes after SIGKILL; more needs an uninterruptible call
LOOK = (0.002, 0.1)  # seconds between looks at what is left: at first, at most
NAMED = 5  # processes that a report names


@dataclass
class Ended:
    """What was found and ended.

    :ivar found: name of each process that was found, by pid and start time
    :ivar killed: those among them that SIGTERM had not ended
    :ivar left: those that are still there
    :ivar sure: a last look has found none
    """

    found: dict[tuple[int, int], str] = field(default_factory=dict)
    killed: int = 0
    left: list[proc.Process] = field(default_factory=list)
    sure: bool = False

    def __str__(self) -> str:
        if not self.found:
            return "no process was left" if self.sure else "something may still be there"
        names = [f"{name} ({pid})" for (pid, _), name in list(self.found.items())[:NAMED]]
        if len(self.found) > NAMED:
            names.append("…")
        count = "1 process" if len(self.found) == 1 else f"{len(self.found)} processes"
        text = f"{count} ended: {', '.join(names)}"
        if self.killed:
            text += f"; {self.killed} by SIGKILL"
        if not self.left:
            return f"{text}; {'nothing is left' if self.sure else 'more may still be there'}"
        left = ", ".join(f"{process.name} ({process.pid})" for process in self.left[:NAMED])
        return f"{text}; still there: {left}"


class Tree:
    """What one attempt has started, directly or not.

    :param attempt: the attempt's id, which its processes carry in their environment
    :param groups: where it gets a control group when a process is to be enclosed, None for nowhere
    :param nice: by how much its processes are less urgent than the agent
    """

    def __init__(self, attempt: str, groups: Groups | None = None, nice: int = 0) -> None:
        self.attempt = attempt
        self._groups = groups
        self._group: Group | None = None
        self._nice = nice
        self._closed = False
        self.started = ticks()
        self.sessions: set[int] = set()
        CHILDREN.begin(self)

    def close(self) -> None:
        """Forget this attempt, and remove its control group."""
        if not self._closed:
            self._closed = True
            CHILDREN.end(self)
            if self._group is not None:
                self._group.remove()

    def spawn(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Start a process that leads a session of its own, and make it part of the tree."""
        child = CHILDREN.spawn(self, start)
        if self._nice:
            own = os.getpriority(os.PRIO_PROCESS, 0)
            with contextlib.suppress(OSError):  # it has ended already
                os.setpriority(os.PRIO_PGRP, child.pid, own + self._nice)
        return child

    def enclose(self, pid: int) -> None:
        """Move a process that has not been reaped into the attempt's control group.

        This takes the kernel some 10 ms (it waits for all processors), so it is for processes that
        live longer than that; the group is made with the first of them.
        """
        if self._group is None and self._groups is not None and not self._closed:
            self._group = self._groups.make(self.attempt)
        if self._group is not None:
            self._group.add(pid)
            # What it has forked before it was moved is outside; what comes later is inside.
            for descendant in proc.descendants(pid):
                self._group.add(descendant)

    def quiet(self) -> bool:
        """Say whether nothing is left."""
        return CHILDREN.quiet(self) and (self._group is None or self._group.empty())

    def end(self, grace: float, wait: Callable[[float], object] = time.sleep) -> Ended:
        """End all processes: SIGTERM, a grace period, SIGKILL, and a look that nothing is left.

        :param grace: seconds between the two signals
        :param wait: sleeps for so many seconds; the caller may use the time to read output
        """
        return end_all(self._members, self.quiet, grace, wait=wait, kill=self._kill)

    def _kill(self, found: list[proc.Process]) -> None:
        """Send SIGKILL to whole groups, so that nothing escapes by forking faster than we look."""
        if self._group is not None:
            self._group.kill()
        CHILDREN.strike(self, found)

    def _members(self) -> list[proc.Process]:
        found = {process.pid: process for process in CHILDREN.of(self)}
        if self._group is not None:
            found.update((process.pid, process) for process in self._group.processes())
        return list(found.values())


def end_all(
    members: Callable[[], list[proc.Process]],
    quiet: Callable[[], bool],
    grace: float,
    *,
    wait: Callable[[float], object] = time.sleep,
    kill: Callable[[list[proc.Process]], object] | None = None,
) -> Ended:
    """End processes until a look finds none: SIGTERM, a grace period, SIGKILL.

    :param members: returns the processes that are there; may miss one that is being forked
    :param quiet: says whether there are none
    :param grace: seconds between the two signals
    :param wait: sleeps for so many seconds
    :param kill: sends SIGKILL to many at once, where that can be done
    """
    ended = Ended()
    told: set[tuple[int, int]] = set()
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, KILL_WAIT)):
        pause = LOOK[0]
        until = time.monotonic() + patience
        while (left := members()) or not quiet():
            ended.left = left
            ended.found.update({(p.pid, p.start): p.name for p in left})
            if number == signal.SIGKILL:
                ended.killed = max(ended.killed, len(left))
                if kill is not None:
                    kill(left)
            _signal(left, number, told)
            remaining = until - time.monotonic()
            if remaining <= 0:
                break
            wait(min(pause, remaining))
            pause = min(2 * pause, LOOK[1])
        else:
            ended.left, ended.sure = [], True
            return ended
    return ended


def _signal(processes: list[proc.Process], number: int, told: set[tuple[int, int]]) -> None:
    """Send SIGKILL to all, SIGTERM to those that have not got it yet."""
    for process in processes:
        if number == signal.SIGKILL:
            send(process, number)
        elif (process.pid, process.start) not in told:
            told.add((process.pid, process.start))
            send(process, number)
            send(process, signal.SIGCONT)  # a stopped process sees SIGTERM when it goes on
