"""Virtual environments for what we are measured against, from its releases on PyPI.

They are kept in ``.lab/bench``; remove a folder there to have it made anew.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".lab" / "bench"

LABAPI = ("-e", str(ROOT / "middleware"), "-e", str(ROOT))

PACKAGES: dict[str, tuple[str, ...]] = {
    "client": ("-e", f"{ROOT / 'client'}[openstack]"),
    "celery": ("celery[redis]==5.7.*", "flower==2.*", "PyMySQL==1.*", "SQLAlchemy==2.*"),
    "servers": ("granian==2.*", "uWSGI==2.*", *LABAPI),
    "placement": ("openstack-placement==16.*", "uWSGI==2.*"),
    "nova": ("nova==34.0.0",),
    "salt": ("salt==3008.*",),
}


def programs(name: str) -> Path:
    """Return the folder of an environment's programs; makes the environment if it is missing.

    :raises subprocess.CalledProcessError: pip cannot install what belongs there
    """
    environment = FOLDER / name
    done = environment / ".packages"
    wanted = "\n".join(PACKAGES[name])
    if not done.exists() or done.read_text() != wanted:
        sys.stderr.write(f"installing {name} into {environment} (once)\n")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        pip = [str(environment / "bin" / "pip"), "install", "--quiet", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *PACKAGES[name]], check=True)
        done.write_text(wanted)
    return environment / "bin"
