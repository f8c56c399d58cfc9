"""Keystone itself: fetched once, then found again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

KEYSTONE = "keystone==30.0.0"
REPOSITORY = Path(__file__).parents[3]
# The environment that keeps Keystone from one run to the next.
VENV = Path(os.environ.get("LABAPI_KEYSTONE_VENV", REPOSITORY / ".lab" / "keystone-venv"))
INSTALL_TIMEOUT = 600.0


def environment() -> Path:
    """Make the environment with Keystone in it, if need be; return its bin folder."""
    bin_folder = VENV / "bin"
    if not bin_folder.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True, timeout=120)
    pip = [bin_folder / "python", "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    subprocess.run([*pip, KEYSTONE, "gunicorn>=23"], check=True, timeout=INSTALL_TIMEOUT)
    return bin_folder
