"""What a method is given: the attempt it runs for, and a way to start processes in it."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labapi.agent.errors import CannotStart
from labapi.agent.output import OutputBuffer
from labapi.agent.plugins.base import Outcome
from labapi.agent.processes import proc
from labapi.agent.processes.cgroup import Groups
from labapi.agent.processes.limits import Limits
from labapi.agent.processes.process import Child, Command
from labapi.agent.processes.tree import Ended, Tree
from labapi.case import Reason, Result

# Seconds that a process runs before it is moved into a control group. Moving takes as long, and
# many cases are over by then; what those leave behind is found by session and environment.
HEAD_START = 0.02


class Stopped(BaseException):
    """The case is cancelled, out of time, or the agent stops.

    Not an ``Exception``, so that a method that catches errors does not catch this by accident.
    """


class Stop:
    """Tells a running method that it has to end, and why."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wake: int | None = None
        self.reason: str | None = None
        self.since: float | None = None

    def set(self, reason: str) -> None:
        """Ask for the end; the first reason counts."""
        with self._lock:
            if self.reason is None:
                self.reason = reason
                self.since = time.monotonic()
                if self._wake is not None:
                    os.eventfd_write(self._wake, 1)

    def wake(self) -> int:
        """Return a file descriptor that is readable once the end was asked for.

        :raises OSError: there are no more file descriptors
        """
        with self._lock:
            if self._wake is None:
                asked = self.reason is not None
                self._wake = os.eventfd(int(asked), os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            return self._wake

    def close(self) -> None:
        """Give the file descriptor back."""
        with self._lock:
            wake, self._wake = self._wake, None
        if wake is not None:
            os.close(wake)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the agent gives to all attempts alike.

    :ivar work: folder in which attempts have their own folders
    :ivar grace: seconds between SIGTERM and SIGKILL
    :ivar groups: where attempts get control groups, None for nowhere
    """

    work: Path
    grace: float
    limits: Limits
    groups: Groups | None = None


class Run:
    """One attempt at one case, as its method sees it.

    :ivar case: id of the case
    :ivar attempt: id of the attempt, also in the processes' environment as ``LABAPI_ATTEMPT``
    :ivar timeout: seconds that the method may run in all
    """

    def __init__(
        self,
        case: str,
        attempt: str,
        timeout: float,
        *,
        surroundings: Surroundings,
        output: OutputBuffer,
        stop: Stop,
        noted: Callable[[int, int], None],
    ) -> None:
        self.case = case
        self.attempt = attempt
        self.timeout = timeout
        self.deadline = time.monotonic() + timeout
        self.tree = Tree(attempt, surroundings.groups, surroundings.limits.nice)
        self.ended: Ended | None = None
        self._surroundings = surroundings
        self._output = output
        self._stop = stop
        self._noted = noted
        self._folder: str | None = None

    @property
    def remaining(self) -> float:
        """Seconds until the timeout, never below 0."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def workdir(self) -> Path:
        """A folder of this attempt's own, empty at first, removed after it."""
        return Path(self._own_folder())

    @property
    def made(self) -> str | None:
        """The folder, if the method has asked for it."""
        return self._folder

    def _own_folder(self) -> str:
        if self._folder is None:
            folder = f"{self._surroundings.work}/{self.attempt}"
            os.mkdir(folder, mode=0o700)
            if self._surroundings.limits.owner is not None:
                os.chown(folder, *self._surroundings.limits.owner)
            self._folder = folder
        return self._folder

    def check(self) -> None:
        """Check that the case may go on.

        :raises Stopped: it is cancelled or out of time; let this pass
        """
        if self._stop.reason is None and time.monotonic() >= self.deadline:
            self._stop.set(Reason.TIMEOUT)
        if self._stop.reason is not None:
            raise Stopped(self._stop.reason)

    def permit(self, program: str) -> None:
        """Check that the agent's configuration lets callers name this program as a command.

        For methods that run what the caller names; what a method itself chooses needs no check.

        :raises InvalidInput: it does not; let this pass
        """
        self._surroundings.limits.permit(program)

    def write(self, data: bytes | str) -> None:
        """Add to the case's output; text goes as UTF-8."""
        self._output.write(data.encode(errors="replace") if isinstance(data, str) else data)

    def execute(
        self,
        argv: Sequence[str],
        *,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        capture: int = 0,
    ) -> Outcome:
        """Run a program to its end; what it writes becomes output of the case.

        What a program leaves in the background runs on until the method returns.

        :param argv: the program and its arguments; no shell reads them
        :param cwd: folder to start in, ``workdir`` if not given
        :param env: variables beside the ones that the agent's configuration gives
        :param stdin: what the program reads, nothing if not given
        :param capture: return so many bytes from the beginning of the output, too
        :returns: PASS for exit status 0, otherwise FAIL
        :raises CannotStart: there is no such program, or the machine cannot start one
        :raises Stopped: the case had to end; let this pass
        """
        self.check()
        command = self._command(_words(argv), cwd, env, stdin)
        captured = bytearray()

        def sink(data: bytes) -> None:
            self._output.write(data)
            captured.extend(data[: max(0, capture - len(captured))])

        wake = self._stop.wake()
        child = Child(command, self.tree, sink)
        try:
            self._note(child.pid)
            if not self._pump(child, wake):
                self._end(child)
                self.check()
        finally:
            child.close()
        return _outcome(child.status, bytes(captured))

    def _pump(self, child: Child, wake: int) -> bool:
        """Read output until the child is over; False at the deadline, and when woken."""
        if child.pump(min(self.deadline, time.monotonic() + HEAD_START), wake):
            return True
        if child.status is None:
            self.tree.enclose(child.pid)
        return child.pump(self.deadline, wake)

    def _command(
        self,
        argv: list[str],
        cwd: str | Path | None,
        env: Mapping[str, str] | None,
        stdin: bytes | None,
    ) -> Command:
        limits = self._surroundings.limits
        environment = {**limits.environment, **(env or {}), "LABAPI_CASE": self.case}
        environment[proc.MARKER] = self.attempt
        cwd = str(cwd or self._own_folder())
        if limits.prefix:
            # The prefix would report a missing program as an exit status of its own.
            search = environment.get("PATH", os.defpath)
            program = argv[0] if "/" in argv[0] else shutil.which(argv[0], path=search)
            if program is None or not os.access(os.path.join(cwd, program), os.X_OK):
                raise CannotStart(f"{argv[0]!r} cannot be started: no such program")
            argv = [*limits.prefix, program, *argv[1:]]
        return Command(argv, cwd, environment, stdin, limits.options)

    def _note(self, pid: int) -> None:
        process = proc.read(pid)
        if process is not None:
            self._noted(pid, process.start)

    def _end(self, child: Child) -> None:
        """End everything, reading the output of the child meanwhile."""
        if self._stop.reason is None:
            self._stop.set(Reason.TIMEOUT)

        def wait(seconds: float) -> None:
            if child.pump(time.monotonic() + seconds):
                time.sleep(seconds)

        self.ended = self.tree.end(self._surroundings.grace, wait)
        child.pump(time.monotonic() + 1.0)  # the child's own end, and the last of its output


def _words(argv: Sequence[str]) -> list[str]:
    words = list(argv)
    if isinstance(argv, str) or not words or not all(isinstance(word, str) for word in words):
        raise CannotStart("a command is a list of strings: the program and its arguments")
    if not words[0]:
        raise CannotStart("the name of the program is empty")
    return words


def _outcome(status: int | None, captured: bytes) -> Outcome:
    if status is None:
        return Outcome(Result.FAIL, detail="the process could not be ended", captured=captured)
    if status == 0:
        return Outcome(Result.PASS, exit_code=0, captured=captured)
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        return Outcome(Result.FAIL, status, f"the process was ended by {name}", captured=captured)
    return Outcome(Result.FAIL, status, captured=captured)
