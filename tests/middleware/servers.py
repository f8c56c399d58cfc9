"""Servers of one's own, on ports of one's own, for tests that stop and kill them."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest


def required() -> bool:
    """Say whether a missing server is a failure and no reason to skip."""
    return bool(os.environ.get("LABAPI_REQUIRE_SERVICES"))


def free_port() -> int:
    """Return a port for a server that is started later.

    It lies below those that the kernel gives to clients (ip_local_port_range): one of these may be
    in use again by the time the server wants it.
    """
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def running(program: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server that takes its port where ``PORT`` stands; skip if it is not installed."""
    found = shutil.which(program)
    if found is None:
        if required():
            pytest.fail(f"{program} is not installed")
        pytest.skip(f"{program} is not installed")
    port = free_port()
    command = [found, *(str(port) if a == "PORT" else a for a in arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not listens(port):
            assert time.monotonic() < end, f"{program} did not start"
            time.sleep(0.02)
        yield process, port
    finally:
        process.kill()
        process.wait()


def redis():
    return running(
        "redis-server", "--bind", "127.0.0.1", "--port", "PORT", "--save", "", "--appendonly", "no"
    )


def memcached():
    return running("memcached", "-l", "127.0.0.1", "-p", "PORT", "-U", "0", "-u", "nobody")
