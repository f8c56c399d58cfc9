"""Texts that others wrote, made fit for terminals, mails and XML."""

from __future__ import annotations

import re
import unicodedata

# Sequences that a terminal obeys (ECMA-48): with parameters, with a text, and all others.
_ESCAPE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|\x1b[\\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)?"
    "|\x1b[ -/]*[0-~]"
)
# What XML 1.0 cannot say, what else controls a terminal, and what turns the direction of a line.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_NEW_LINE = re.compile("\r\n?")


def plain(text: str) -> str:
    """Return a text without sequences for a terminal, and U+FFFD in place of control characters.

    New lines and tabs stay.
    """
    return _CONTROL.sub("\ufffd", _NEW_LINE.sub("\n", _ESCAPE.sub("", text)))


def line(text: str) -> str:
    """Return the same as one line."""
    return " ".join(plain(text).split())


def width(text: str) -> int:
    """Return how many columns of a terminal a text of one line takes."""
    if text.isascii():  # as nearly all is, and this takes a thousandth of the time
        return len(text)
    return sum(map(_columns, text))


def fit(text: str, columns: int) -> str:
    """Return a text of one line cut, or filled up with blanks, to so many columns."""
    room = columns - width(text)
    if room >= 0:
        return text + " " * room
    if text.isascii():
        return f"{text[: columns - 1]}…"
    kept, left = "", columns - 1  # for the …
    for character in text:
        left -= _columns(character)
        if left < 0:
            break
        kept += character
    return fit(kept + "…", columns)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
