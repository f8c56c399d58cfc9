"""Programs under measurement: started in a group of their own, with what they use counted."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import psutil

START_TIMEOUT = 60.0  # seconds
STOP_TIMEOUT = 20.0  # seconds


class Server:
    """A program with its children; its output goes to a file.

    :param argv: the program and its arguments
    :param log: the file
    :param env: variables beside those of this process
    """

    def __init__(self, argv: list[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                argv,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=log.parent,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            )
        self._process = psutil.Process(self._popen.pid)

    def __enter__(self) -> Server:
        """Return this server."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    def listens(self, port: int) -> Server:
        """Wait until the program takes connections."""
        wait_for(lambda: _connects(port), f"{self._popen.args!r} on {port}", self)
        return self

    def says(self, text: str) -> Server:
        """Wait until the program has written something."""
        wait_for(lambda: text in self.output(), f"{text!r}", self)
        return self

    def output(self) -> str:
        """Return what the program has written."""
        return self.log.read_text(errors="replace")

    @property
    def runs(self) -> bool:
        """Say whether the program has not ended."""
        return self._popen.poll() is None

    def cpu(self) -> float:
        """Return the CPU seconds that the program and its living children have used."""
        total = 0.0
        for process in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                # What children used that have ended (cases, say) is that of their parents.
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def resident(self) -> list[float]:
        """Return the MiB of memory in use by the program and by each of its children."""
        return [process.memory_info().rss / 2**20 for process in self._all()]

    def peak(self) -> float:
        """Return the largest MiB of memory that one of the processes that serve has had.

        A parent that only watches its workers is larger than they are, and would hide their growth.
        """
        serving = (process for process in self._all() if not process.children())
        return max(_high_water(process.pid) for process in serving)

    def pids(self) -> list[int]:
        """Return the ids of the program and its children."""
        return [process.pid for process in self._all()]

    def stop(self) -> None:
        """Ask the program to end, then make it."""
        if self.runs:
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def _all(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]


def wait_for(condition: Callable[[], bool], what: str, server: Server | None = None) -> None:
    """Wait until a condition holds.

    :raises RuntimeError: it does not in time, or the server has ended meanwhile
    """
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        if server is not None and not server.runs:
            raise RuntimeError(f"waited for {what}; it ended:\n{server.output()[-2000:]}")
        if time.monotonic() > deadline:
            said = server.output()[-2000:] if server is not None else ""
            raise RuntimeError(f"{what}: not within {START_TIMEOUT:g} s\n{said}")
        time.sleep(0.02)


def _connects(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _high_water(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no VmHWM")
