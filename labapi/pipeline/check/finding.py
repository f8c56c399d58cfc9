"""Findings of the check: a place in a Paste file, the problem, a suggestion."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

# A longer name is not compared with others. Characters.
_LONGEST = 200
# A longer text is shown without its middle. Characters.
_LONGEST_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is written: a file, a section without its brackets, an option."""

    file: str
    section: str = ""
    option: str = ""

    def __str__(self) -> str:
        section = f"[{self.section}]" if self.section else ""
        return ": ".join(part for part in (self.file, section, self.option) if part)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, where, and what was expected.

    :ivar fatal: the API does not start with it; otherwise it is a warning
    """

    place: Place
    problem: str
    fatal: bool = True

    def __str__(self) -> str:
        warning = "" if self.fatal else "warning: "
        text = printable(f"{self.place}: {warning}{self.problem}")
        half = _LONGEST_SHOWN // 2
        return text if len(text) <= _LONGEST_SHOWN else f"{text[:half]} … {text[-half:]}"


def printable(text: str) -> str:
    """Return a text with escapes instead of control characters, so that it is one line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(error: BaseException) -> str:
    """Return the kind and the text of an exception, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean …?``, or nothing if no known name is near."""
    found = nearest_name(name, known)
    return f"; did you mean '{found}'?" if found else ""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is nearest, None if none is near; upper and lower case are one."""
    names = {word.lower(): word for word in sorted(known, reverse=True)}
    found = difflib.get_close_matches(name[:_LONGEST].lower(), names, 1)
    return names[found[0]] if found else None


def masked(name: str, text: str) -> str:
    """Return a value as it may be shown, of an option of which only the name is known."""
    if may_be_secret(name):
        return "***"
    scheme, found, rest = text.partition("://")
    login, at, host = rest.rpartition("@")
    return f"{scheme}://***@{host}" if found and at and login else text


def may_be_secret(name: str) -> bool:
    """Say whether an option of this name may hold a password or another secret."""
    words = ("password", "passwd", "secret", "token", "key", "credential")
    name = name.lower()
    # A name that is misspelt is shown as one that does not exist, and its value is as secret.
    return any(word in name for word in words) or any(
        difflib.get_close_matches(part, words, 1, 0.75) for part in name.split("_")
    )
