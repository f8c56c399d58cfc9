"""What the ``ip_whitelist`` filter says about a host, asked wherever a request meets one.

The filter leaves a guard in the environ, for only the application knows which host a request is
about, whether a URL or a body names it. Without the filter nothing is guarded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labapi.context import HOST_GUARD
from labapi.db.session import Record
from labapi.exceptions import Forbidden, InvalidInput


def hidden(environ: Mapping[str, Any], host: Record) -> bool:
    """Say whether this client may not even see a host in a list."""
    guard = environ.get(HOST_GUARD)
    return guard is not None and guard(host.meta) is not None


def check(environ: Mapping[str, Any], host: Record) -> None:
    """Return if this client may read a host and run on it.

    :raises Forbidden: it may not
    """
    guard = environ.get(HOST_GUARD)
    message = guard(host.meta) if guard is not None else None
    if message is not None:
        raise Forbidden(message)


def check_value(environ: Mapping[str, Any], key: str, value: str) -> None:
    """Return if a metadata value means something to the guard, or is none of its business.

    :raises InvalidInput: it is a list of addresses that cannot be read
    """
    guard = environ.get(HOST_GUARD)
    problem = guard.problem(key, value) if guard is not None else None
    if problem is not None:
        raise InvalidInput(f"{key}: {problem}")
