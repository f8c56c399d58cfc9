"""One process of an attempt: started without a shell, its output read as it comes."""

from __future__ import annotations

import contextlib
import math
import os
import select
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labapi.agent.errors import CannotStart
from labapi.agent.processes.children import CHILDREN
from labapi.agent.processes.tree import KILL_WAIT, Tree

READ = 65536  # bytes read at once
EOF_GRACE = 0.25  # seconds that a process's output may stay open after its end


@dataclass(frozen=True, slots=True)
class Command:
    """What to start.

    :ivar cwd: folder to start in
    :ivar env: the whole environment
    :ivar stdin: what the process reads, None for nothing
    :ivar options: further arguments of :class:`subprocess.Popen`
    """

    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    stdin: bytes | None = None
    options: Mapping[str, Any] | None = None


class Child:
    """A running process whose stdout and stderr are one stream.

    :param sink: gets the output as it comes
    :raises CannotStart: there is no such program, it may not be run, the machine is exhausted
    """

    def __init__(self, command: Command, tree: Tree, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._eof_by = math.inf
        self.status: int | None = None
        self._popen, output, self._pidfd = _start(command, tree)
        self._pipe: int | None = output
        self._poll = select.poll()
        self._poll.register(output, select.POLLIN)
        self._poll.register(self._pidfd, select.POLLIN)

    @property
    def pid(self) -> int:
        """The process id; not used again before ``pump`` has seen the end."""
        return self._popen.pid

    @property
    def over(self) -> bool:
        """Say whether the process has ended and its output has been read."""
        return self.status is not None and self._pipe is None

    def pump(self, until: float, wake: int | None = None) -> bool:
        """Read output until the process is over.

        :param until: monotonic time to stop at
        :param wake: a file descriptor; stop when it becomes readable
        :returns: whether the process is over
        """
        if wake is not None:
            self._poll.register(wake, select.POLLIN)
        try:
            while not self.over:
                now = time.monotonic()
                if now >= self._eof_by:
                    self._close_pipe()
                    break
                limit = min(until, self._eof_by)
                if now >= limit or self._woken(limit - now, wake):
                    break
        finally:
            if wake is not None:
                self._poll.unregister(wake)
        return self.over

    def close(self) -> None:
        """Give back what the kernel keeps for the process; end it if it has not ended."""
        if self.status is None:
            self._popen.kill()
            self._poll = select.poll()
            self._poll.register(self._pidfd, select.POLLIN)
            if self._poll.poll(KILL_WAIT * 1000):
                self.status = CHILDREN.reap(self._popen)
        self._close_pipe()
        os.close(self._pidfd)

    def _woken(self, seconds: float, wake: int | None) -> bool:
        """Wait for the next event and deal with it; True if it was the wake-up."""
        woken = False
        milliseconds = None if math.isinf(seconds) else math.ceil(min(seconds, 86400) * 1000)
        for fd, _ in self._poll.poll(milliseconds):
            if fd == self._pipe:
                self._read()
            elif fd == self._pidfd:
                self._reap()
            else:
                woken = fd == wake
        return woken

    def _read(self) -> None:
        assert self._pipe is not None  # noqa: S101 (registered while open)
        data = os.read(self._pipe, READ)
        if data:
            self._sink(data)
        else:
            self._close_pipe()

    def _reap(self) -> None:
        self.status = CHILDREN.reap(self._popen)
        if self.status is not None:
            self._poll.unregister(self._pidfd)
            # A process in the background may hold the other end; it is not waited for.
            self._eof_by = time.monotonic() + EOF_GRACE

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            pipe, self._pipe = self._pipe, None
            with contextlib.suppress(KeyError):
                self._poll.unregister(pipe)
            os.close(pipe)


def _start(command: Command, tree: Tree) -> tuple[subprocess.Popen[bytes], int, int]:
    """Start a process; return it, where its output is read, and a descriptor of it (a pidfd)."""
    try:
        output, theirs = os.pipe()
        try:
            child = _spawn(command, tree, theirs)
            return child, output, _pidfd(child)
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(theirs)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        program = command.argv[0]
        raise CannotStart(f"{program!r} cannot be started: {_why(error, program)}") from error


def _spawn(command: Command, tree: Tree, output: int) -> subprocess.Popen[bytes]:
    # A file in memory, since writing to a pipe could block.
    data = command.stdin
    stdin = os.open(os.devnull, os.O_RDWR) if data is None else _in_memory(data)

    def start(executable: str | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command.argv,
            executable=executable,
            cwd=command.cwd,
            env=command.env,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **(command.options or {}),
        )

    try:
        if (found := _found(command)) is not None:
            with contextlib.suppress(OSError):  # Popen looks on, and says why if there is nothing
                return tree.spawn(lambda: start(found))
        return tree.spawn(lambda: start(None))
    finally:
        os.close(stdin)


def _found(command: Command) -> str | None:
    """Return the path of a program that the command only names, None if it is left to Popen.

    Popen tries each folder, of which it makes bytes, in a list of its own, with warnings caught: a
    quarter of all functions that it takes to start a program.
    """
    program = command.argv[0]
    if "/" in program or command.options:  # another user may start what this one may not
        return None
    for folder in command.env.get("PATH", "").split(os.pathsep):
        if not folder.startswith("/"):
            return None
        path = f"{folder}/{program}"
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return None


def _pidfd(child: subprocess.Popen[bytes]) -> int:
    try:
        return os.pidfd_open(child.pid)
    except OSError as error:
        child.kill()
        while CHILDREN.reap(child) is None:
            time.sleep(0.001)
        raise CannotStart(f"the agent has no file descriptor for a process: {error}") from error


def _why(error: Exception, program: str) -> str:
    """Return what an error says, without the name of the program once more."""
    if isinstance(error, OSError) and error.filename == program:
        return str(error.strerror)
    return str(error)


def _in_memory(data: bytes) -> int:
    """Return a file that holds this, open at its beginning."""
    fd = os.memfd_create("stdin")
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd
