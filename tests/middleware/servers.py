"""Servers of one's own, on ports of one's own, for tests that stop and kill them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Process, free_port, listens

__all__ = ["free_port", "installed", "listens", "memcached", "redis", "required", "running"]


def required() -> bool:
    """Say whether a missing server is a failure and no reason to skip."""
    return bool(os.environ.get("LABAPI_REQUIRE_SERVICES"))


def installed(program: str) -> str:
    """Return where a program is; skip the test if it is not installed and need not be."""
    found = shutil.which(program)
    if found is None:
        if required():
            pytest.fail(f"{program} is not installed")
        pytest.skip(f"{program} is not installed")
    return found


@contextlib.contextmanager
def running(program: str, *arguments: str) -> Iterator[tuple[Process, int]]:
    """Run a server that takes its port where ``PORT`` stands; skip if it is not installed."""
    found = installed(program)
    port = free_port()
    command = [found, *(str(port) if a == "PORT" else a for a in arguments)]
    with tempfile.TemporaryDirectory() as folder:
        process = Process(command, Path(folder) / "log")
        try:
            process.listens(port)
            yield process, port
        finally:
            process.kill()


def redis():
    return running(
        "redis-server", "--bind", "127.0.0.1", "--port", "PORT", "--save", "", "--appendonly", "no"
    )


def memcached():
    return running("memcached", "-l", "127.0.0.1", "-p", "PORT", "-U", "0", "-u", "nobody")
