"""Runs the measurements and keeps their last tables in ``docs/performance.md``.

    python -m bench.run [--quick] [NAME ...]

Names: request-path, list, dispatch, agents, scheduler, idle, growth, start, plan. Tables of a quick
run are printed and not kept.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from bench.environments import ROOT

PAGE = ROOT / "docs" / "performance.md"
NAMES = (
    "request-path",
    "list",
    "dispatch",
    "agents",
    "scheduler",
    "idle",
    "growth",
    "start",
    "plan",
)


def machine() -> str:
    """Return what the measurements were made on."""
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    processor = model[1] if model else platform.machine()
    return (
        f"{os.cpu_count()} processors ({processor}), {memory:.0f} GiB, Linux {platform.release()},"
        f" Python {platform.python_version()}, labapi {revision.stdout.strip()}"
    )


def keep(name: str, tables: str, took: float) -> None:
    """Put a measurement's tables in place of its last ones."""
    load = os.getloadavg()[0]
    stamp = f"{datetime.date.today().isoformat()}, {took:.0f} s; load at the end {load:.1f}"
    text = PAGE.read_text()
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    if not rest or not tail:
        raise SystemExit(f"{PAGE} has no place for the tables of {name}")
    PAGE.write_text(f"{head}{begin}{machine()}. {stamp}.\n\n{tables}\n{end}{tail}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="less of everything; kept nowhere")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no measurement {min(unknown)!r}; there is: {', '.join(NAMES)}")
    sys.stdout.write(f"{machine()}\n")
    for name in arguments.names or NAMES:
        sys.stdout.write(f"\n{name}\n\n")
        sys.stdout.flush()
        measure: Callable[..., str] = import_module(f"bench.{name.replace('-', '_')}").measure
        begin = time.monotonic()
        try:
            tables = measure(quick=arguments.quick)
        except RuntimeError as error:
            sys.exit(f"{name}: {error}")
        sys.stdout.write(f"{tables}\n")
        sys.stdout.flush()
        if not arguments.quick:
            keep(name, tables, time.monotonic() - begin)


if __name__ == "__main__":
    main()
