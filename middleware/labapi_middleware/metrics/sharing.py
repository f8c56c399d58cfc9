"""Where the workers of a service keep their numbers, so that any of them can show the sum."""

from __future__ import annotations

import os
import sys

# What prometheus_client reads, once, when it is imported.
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


def problem(directory: str) -> str | None:
    """Say why numbers cannot be kept in a directory; None: they can."""
    if not os.path.isdir(directory) or not os.access(directory, os.W_OK):
        return f"{directory} is not a directory that this process can write to"
    used = os.environ.get(DIRECTORY)
    if "prometheus_client" in sys.modules and used != directory:
        where = used or "its memory"
        return f"this process keeps its numbers in {where} already; restart it to use {directory}"
    return None


def use(directory: str) -> None:
    """Have all numbers of this process kept there; before prometheus_client is imported."""
    os.environ[DIRECTORY] = directory
