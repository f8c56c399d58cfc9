"""The one way in which tests and benches start a program and wait for it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

TIMEOUT = 60.0  # seconds; generous, since a slow machine is no failure

T = TypeVar("T")


class Process:
    """A program in a process group of its own; its output is added to a file.

    :param command: the program and its arguments
    :param env: its whole environment; the default is that of this process
    :param cwd: the default is the folder of the log
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=cwd or log.parent,
                env={**(os.environ if env is None else env), "PYTHONUNBUFFERED": "1"},
            )

    @property
    def pid(self) -> int:
        """The id of the process, and of its group."""
        return self.process.pid

    @property
    def runs(self) -> bool:
        """Whether the program has not ended."""
        return self.process.poll() is None

    def output(self) -> str:
        """Return what it has written."""
        return self.log.read_text(errors="replace")

    def says(self, text: str, timeout: float = TIMEOUT) -> Self:
        """Wait until the program has written something."""
        self.until(lambda: text in self.output(), timeout, repr(text))
        return self

    def listens(self, port: int, timeout: float = TIMEOUT) -> Self:
        """Wait until the program takes connections."""
        self.until(lambda: listens(port), timeout, f"a listener on port {port}")
        return self

    def until(self, condition: Callable[[], T], timeout: float = TIMEOUT, what: str = "it") -> T:
        """Wait until a condition holds, as long as the program runs.

        :raises AssertionError: it does not in time, or the program has ended
        """

        def holds() -> T:
            value = condition()
            assert value or self.runs, f"{what}: the program has ended\n{self.output()[-4000:]}"
            return value

        try:
            return until(holds, timeout, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()[-4000:]}") from None

    def send(self, number: int) -> None:
        """Send a signal to all processes of the group, if there are any left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self, number: int = signal.SIGTERM, timeout: float = TIMEOUT) -> int:
        """Send a signal to the program alone and return its exit status.

        What it leaves behind, and itself if it does not end in time, is killed.
        """
        if self.runs:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the whole group with SIGKILL."""
        self.send(signal.SIGKILL)
        self.process.wait(TIMEOUT)


def until(condition: Callable[[], T], timeout: float = TIMEOUT, what: str = "it") -> T:
    """Wait until a condition holds and return its value.

    :param timeout: seconds
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout} s")
        time.sleep(0.02)
    return value


def lives(pid: int | str) -> bool:
    """Say whether there is such a process; one that has ended and was not waited for is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


_given: list[socket.socket] = []  # each has the name of a port, until this process ends


def free_port() -> int:
    """Return a port for a server that is started later; nobody else is given it meanwhile.

    It lies below those that the kernel gives to clients (ip_local_port_range): one of these may be
    in use again by the time the server wants it.
    """
    while True:
        port = random.randrange(12_000, 32_000)
        mark = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe, contextlib.suppress(OSError):
            mark.bind(f"\0labapi-test-port-{port}")  # no file; other processes see it, too
            probe.bind(("127.0.0.1", port))
            _given.append(mark)
            return port
        mark.close()


def listens(port: int) -> bool:
    """Say whether somebody takes connections on a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
