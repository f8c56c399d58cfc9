"""What the lab has, as words for the completion of a command line.

The words are kept for a minute in the user's cache, and a lab is asked for at most 300 ms: a shell
waits for them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

FRESH = 60.0  # seconds that words are taken from the cache alone
PATIENCE = 0.3  # seconds that the lab may take
MOST = 1000  # hosts that are asked for

# What says of the environment where the lab is, and who asks.
WHO = (
    *("LABAPI_URL", "LABAPI_USERNAME", "OS_CLOUD", "OS_AUTH_URL", "OS_USERNAME", "OS_USER_ID"),
    *("OS_PROJECT_NAME", "OS_PROJECT_ID", "OS_REGION_NAME", "OS_TEST_LAB_ENDPOINT_OVERRIDE"),
)

_is_word = re.compile(r"[A-Za-z0-9_][\w.:-]*", re.ASCII).fullmatch

# ``{host: {plugin: [method, …]}}``
Catalogue = dict[str, dict[str, list[str]]]
Completer = Callable[..., list[str]]


def complete(action: argparse.Action, completer: Completer) -> None:
    """Say what completes an argument; argcomplete looks for this attribute."""
    action.completer = completer  # type: ignore[attr-defined]


def hosts(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Return the names of hosts."""
    return _words(_catalogue(parsed_args))


def plugins(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Return the plugins of the host that is named, or of all."""
    return _words(plugin for offered in _meant(parsed_args) for plugin in offered)


def methods(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Return the methods of the plugin that is named."""
    plugin = getattr(parsed_args, "plugin", None)
    return _words(
        method for offered in _meant(parsed_args) for method in offered.get(plugin or "", ())
    )


def _words(names: Iterable[str]) -> list[str]:
    """Return what a shell may put on a line; agents have chosen these names."""
    return sorted({name for name in names if _is_word(name)})


def _meant(args: argparse.Namespace) -> list[dict[str, list[str]]]:
    found = _catalogue(args)
    host = getattr(args, "host", None)
    return [found[host]] if host in found else list(found.values())


def _catalogue(args: argparse.Namespace) -> Catalogue:
    """Return what the lab has: as it was a minute ago, as it says now, or as when last seen."""
    url = getattr(args, "url", None)
    file = _file(url)
    kept, age = _read(file)
    if age < FRESH:
        return kept
    asked = _ask(url)
    if asked is None:
        return kept
    _write(file, asked)
    return asked


def _ask(url: str | None) -> Catalogue | None:
    """Return what the lab says, None if it does not say it in time."""
    said: list[Catalogue] = []
    asking = threading.Thread(target=_hear, args=(url, said), daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return said[0] if said else None


def _hear(url: str | None, said: list[Catalogue]) -> None:
    from itertools import islice

    from labapi_client import connect
    from labapi_client.exceptions import LabError

    try:
        lab = connect(url, timeout=PATIENCE)
        said.append(
            {
                slave.host: {
                    plugin: list(methods)
                    for plugin, methods in (slave.compute_node_method or {}).items()
                }
                for slave in islice(lab.slaves.list(), MOST)
            }
        )
    except (LabError, OSError):
        return


def _file(url: str | None) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    # What one user of a lab may see, another may not. Keystone is not asked where the lab is.
    who = [url, *(os.environ.get(name) for name in WHO)]
    digest = hashlib.sha256(json.dumps(who).encode()).hexdigest()[:16]
    return Path(base) / "labapi" / f"words-{digest}.json"


def _read(file: Path) -> tuple[Catalogue, float]:
    """Return what is kept, and how many seconds ago it was true."""
    try:
        found = json.loads(file.read_bytes())
        if not isinstance(found, dict):
            return {}, FRESH
        return found, max(0.0, time.time() - file.stat().st_mtime)
    except (OSError, ValueError):
        return {}, FRESH


def _write(file: Path, found: Catalogue) -> None:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as new:
            json.dump(found, new)
        os.replace(new.name, file)
    except OSError:
        return  # a home that cannot be written to; the next word takes as long again
