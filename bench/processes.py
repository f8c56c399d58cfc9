"""Programs under measurement: started in a group of their own, with what they use counted."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import psutil

from tests.processes import Process


class Server(Process):
    """A program with its children; its output goes to a file.

    :param argv: the program and its arguments
    :param log: the file
    :param env: variables beside those of this process
    """

    def __init__(self, argv: list[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        super().__init__(argv, log, {**os.environ, **(env or {})})
        self._measured = psutil.Process(self.pid)

    def __enter__(self) -> Server:
        """Return this server."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it, however long it would like to take."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.stop()

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

    def _all(self) -> list[psutil.Process]:
        return [self._measured, *self._measured.children(recursive=True)]


def _high_water(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no VmHWM")
