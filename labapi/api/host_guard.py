"""What the ``ip_whitelist`` filter says about a host, asked wherever a request meets one.

The filter leaves a guard in the environ, for only the application knows which host a request is
about, whether a URL or a body names it, or a case ran there. Without the filter nothing is guarded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labapi.context import HOST_GUARD
from labapi.exceptions import Forbidden, InvalidInput


def hidden(environ: Mapping[str, Any], meta: Mapping[str, str] | None) -> bool:
    """Say whether this client may not even see a host, or what ran there, in a list.

    :param meta: the host's metadata, None if the host no longer exists
    """
    guard = environ.get(HOST_GUARD)
    return guard is not None and guard(meta or {}) is not None


def check(environ: Mapping[str, Any], meta: Mapping[str, str] | None) -> None:
    """Check that this client may read a host, run on it and read what ran there.

    :param meta: as with :func:`hidden`
    :raises Forbidden: it may not
    """
    guard = environ.get(HOST_GUARD)
    message = guard(meta or {}) if guard is not None else None
    if message is not None:
        raise Forbidden(message)


def check_value(environ: Mapping[str, Any], key: str, value: str) -> None:
    """Check that the guard can read a metadata value, if it is one of its lists.

    :raises InvalidInput: it is a list of addresses that cannot be read
    """
    guard = environ.get(HOST_GUARD)
    problem = guard.problem(key, value) if guard is not None else None
    if problem is not None:
        raise InvalidInput(f"{key}: {problem}")
