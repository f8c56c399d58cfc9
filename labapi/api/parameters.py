"""Reading the values of query parameters."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping

from labapi.exceptions import InvalidInput

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_BYTES = re.compile(r"[0-9]{1,18}", re.ASCII)

SHOWN = 64  # characters of a wrong value that an error repeats


def seconds(query: Mapping[str, str], name: str, longest: float) -> float:
    """Return a number of seconds, 0 if the parameter is not there.

    :raises InvalidInput: it is not a number, or more than ``longest``
    """
    text = query.get(name, "0")
    found = float(text) if _SECONDS.fullmatch(text) else -1.0
    if not 0 <= found <= longest:
        raise InvalidInput(
            f"{name}: {text[:SHOWN]!r} is not a number of seconds from 0 to {longest}"
        )
    return found


def size(query: Mapping[str, str], name: str) -> int | None:
    """Return a number of bytes, None if the parameter is not there.

    :raises InvalidInput: it is not such a number
    """
    text = query.get(name)
    if text is not None and not _BYTES.fullmatch(text):
        raise InvalidInput(f"{name}: {text[:SHOWN]!r} is not a number of bytes")
    return None if text is None else int(text)


def number(query: Mapping[str, str], name: str) -> int:
    """Return a whole number, 0 if the parameter is not there.

    :raises InvalidInput: it is not such a number
    """
    text = query.get(name, "0")
    if not _NUMBER.fullmatch(text):
        raise InvalidInput(f"{name}: {text[:SHOWN]!r} is not a whole number")
    return int(text)


def flag(query: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Return whether the parameter is ``true``.

    :param default: what counts if the parameter is not there

    :raises InvalidInput: it is neither ``true`` nor ``false``
    """
    text = query.get(name, "true" if default else "false")
    if text not in ("true", "false"):
        raise InvalidInput(f"{name}: {text[:SHOWN]!r} is neither true nor false")
    return text == "true"


def check_one_of(query: Mapping[str, str], name: str, known: Iterable[str]) -> None:
    """Check that the parameter, if it is there, is one of some words.

    :raises InvalidInput: it is another
    """
    text, known = query.get(name), list(known)
    if text is not None and text not in known:
        raise InvalidInput(f"{name}: {text[:SHOWN]!r} is not one of {', '.join(known)}")


def moment(query: Mapping[str, str], name: str) -> datetime.datetime | None:
    """Return a point in time, None if the parameter is not there; without a zone it is UTC.

    :raises InvalidInput: it is not a time in ISO 8601
    """
    text = query.get(name)
    if text is None:
        return None
    try:
        # A plus sign that was not percent-encoded arrives as a blank.
        found = datetime.datetime.fromisoformat(text.replace(" ", "+"))
        # The first and the last day that there is may lie in no year once they are UTC.
        return (
            found.astimezone(datetime.UTC) if found.tzinfo else found.replace(tzinfo=datetime.UTC)
        )
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"{name}: {text[:SHOWN]!r} is not a time such as 2026-11-21T08:00:00Z (ISO 8601)"
        ) from None
