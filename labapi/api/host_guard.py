"""What the ``ip_whitelist`` filter says about a host, asked wherever a request meets one.

The filter leaves a guard in the environ, for only the application knows which host a request is
about, whether a URL or a body names it, or a case ran there. Without the filter nothing is guarded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from labapi.context import HOST_GUARD
from labapi.db.session import Record
from labapi.exceptions import Forbidden, InvalidInput
from labapi.scheduler.spec import Access


def guards(environ: Mapping[str, Any]) -> bool:
    """Say whether a filter guards hosts here at all."""
    return environ.get(HOST_GUARD) is not None


def hidden(environ: Mapping[str, Any], meta: Mapping[str, str] | None) -> bool:
    """Say whether this client may not even see a host, or what ran there, in a list.

    :param meta: the host's metadata, None if the host no longer exists
    """
    guard = environ.get(HOST_GUARD)
    return guard is not None and guard(meta or {}) is not None


def visible(environ: Mapping[str, Any], hosts: Sequence[Record]) -> Sequence[Record]:
    """Return those of some hosts that are not :func:`hidden`."""
    guard = environ.get(HOST_GUARD)
    if guard is None:
        return hosts
    return [host for host in hosts if guard(host.meta or {}) is None]


def check(environ: Mapping[str, Any], meta: Mapping[str, str] | None) -> None:
    """Check that this client may read a host, run on it and read what ran there.

    :param meta: as with :func:`hidden`
    :raises Forbidden: it may not
    """
    guard = environ.get(HOST_GUARD)
    message = guard(meta or {}) if guard is not None else None
    if message is not None:
        raise Forbidden(message)


def hidden_case(environ: Mapping[str, Any], case: Record) -> bool:
    """Say whether this client may not see a case, because it may not see its host.

    :param case: with ``host`` and ``host_meta``; where it has no host yet, none is guarded
    """
    return case.host is not None and hidden(environ, case.host_meta)


def check_case(environ: Mapping[str, Any], case: Record) -> None:
    """Check that this client may see a case, as far as its host is concerned.

    :param case: as with :func:`hidden_case`
    :raises Forbidden: it may not
    """
    if case.host is not None:
        check(environ, case.host_meta)


def client(environ: Mapping[str, Any]) -> str | None:
    """Return the address that the pipeline has established, None if it is not known."""
    return environ.get("REMOTE_ADDR") or None


def access(environ: Mapping[str, Any]) -> tuple[str | None, Access | None]:
    """Return what tells later which hosts this client may run on, when the guard is gone.

    :returns: the client's address, None if it is not known; and the rules of the guard, None where
        no filter guards hosts
    :raises Forbidden: the guard tells nothing that could be asked later
    """
    if not tells(environ):
        raise Forbidden(
            "host: the filter that guards hosts here cannot tell which of them may be chosen later;"
            " name a host"
        )
    guard = environ.get(HOST_GUARD)
    if guard is None:
        return client(environ), None
    told = dict(guard.access())
    return told.pop("address"), msgspec.convert(told, Access)


def tells(environ: Mapping[str, Any]) -> bool:
    """Say whether it can be told later which hosts this client may run on."""
    guard = environ.get(HOST_GUARD)
    return guard is None or hasattr(guard, "access")


def check_value(environ: Mapping[str, Any], key: str, value: str) -> None:
    """Check that the guard can read a metadata value, if it is one of its lists.

    :raises InvalidInput: it is a list of addresses that cannot be read
    """
    guard = environ.get(HOST_GUARD)
    problem = guard.problem(key, value) if guard is not None else None
    if problem is not None:
        raise InvalidInput(f"{key}: {problem}")
