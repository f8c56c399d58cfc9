"""Programs as users start them, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.lab import ROOT, until
from tests.middleware.servers import free_port

__all__ = ["BIN", "Program", "curl", "free_port", "run"]

BIN = Path(sys.executable).parent


class Program:
    """A program in a process group of its own; its output goes to a file.

    :param name: of the console script
    :param log: the file
    """

    def __init__(self, name: str, *args: str, log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(BIN / name), *args],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=log.parent,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def says(self, text: str, timeout: float = 60.0) -> None:
        """Wait until the program has written something."""

        def said() -> bool:
            assert self.process.poll() is None, self.output()
            return text in self.output()

        until(said, timeout, f"{text!r} in {self.output()}")

    def output(self) -> str:
        """Return what it has written."""
        return self.log.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM, timeout: float = 60.0) -> int:
        """Send a signal to the program and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        finally:
            # There is no group any more when it left nothing behind, as it should.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def run(name: str, *args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [str(BIN / name), *args],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
    )


def curl(*args: str) -> Any:
    """Run curl and return the JSON document that it prints."""
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "90", *args], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)
