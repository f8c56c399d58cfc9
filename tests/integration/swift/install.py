"""Swift itself and its client: fetched once, then found again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SWIFT = "swift==2.38.3"
REPOSITORY = Path(__file__).parents[3]
# The folder that keeps the environment with Swift in it from one run to the next.
VENV_HOME = Path(os.environ.get("LABAPI_SWIFT_HOME", REPOSITORY / ".lab" / "swift"))
INSTALL_TIMEOUT = 600.0


def environment() -> Path:
    """Make the environment with Swift and this repository's filters; return its bin folder."""
    bin_folder = VENV_HOME / "venv" / "bin"
    if not bin_folder.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV_HOME / "venv"], check=True, timeout=120)
    pip = [bin_folder / "python", "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    with tempfile.TemporaryDirectory() as folder:  # a build leaves its own folder in the source
        source = Path(folder) / "middleware"
        unwanted = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
        shutil.copytree(REPOSITORY / "middleware", source, ignore=unwanted)
        wanted = [SWIFT, "python-swiftclient", source]
        subprocess.run([*pip, *wanted], check=True, timeout=INSTALL_TIMEOUT)
        again = ["--force-reinstall", "--no-deps", source]  # the version does not tell
        subprocess.run([*pip, *again], check=True, timeout=INSTALL_TIMEOUT)
    return bin_folder
