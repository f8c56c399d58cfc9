"""Programs as users start them, for tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.lab import ROOT
from tests.processes import Process, free_port

__all__ = ["BIN", "Program", "curl", "free_port", "run"]

BIN = Path(sys.executable).parent


class Program(Process):
    """A program of labapi; its output goes to a file.

    :param name: of the console script
    :param log: the file
    """

    def __init__(self, name: str, *args: str, log: Path) -> None:
        super().__init__([BIN / name, *args], log)


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
