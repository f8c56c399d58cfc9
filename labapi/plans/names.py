"""Texts of a plan that people read in lists, mails and reports: what may stand in them."""

from __future__ import annotations

import re
from typing import Any

from labapi.exceptions import InvalidInput
from labapi.plans.problems import shown

MAX_LINE = 255  # characters of a name
MAX_TEXT = 4096  # characters of a description

# What moves a terminal's cursor, breaks lines, turns the direction of writing, or is no character.
_UNFIT = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff"
_line = re.compile(rf"[^\t\n{_UNFIT}]+").fullmatch
_text = re.compile(rf"[^{_UNFIT}]*").fullmatch
_word = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}").fullmatch
_number = re.compile(r"[1-9][0-9]{0,8}").fullmatch


def line(value: Any) -> str:
    """Check that a value is a name on one line.

    :raises InvalidInput: it is not
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_LINE or not _line(value):
        raise InvalidInput(
            f"expected a text of 1 to {MAX_LINE} characters on one line, without control characters"
        )
    return value


def text(value: Any) -> str:
    """Check that a value is a text, perhaps of several lines.

    :raises InvalidInput: it is not
    """
    if not isinstance(value, str) or len(value) > MAX_TEXT or not _text(value):
        raise InvalidInput(
            f"expected a text of at most {MAX_TEXT} characters, without control characters"
        )
    return value


def word(value: Any) -> str:
    """Check that a value can be asked for by ``{"get_param": …}``.

    :raises InvalidInput: it cannot
    """
    if not isinstance(value, str) or not _word(value):
        raise InvalidInput(
            f"{shown(value)} is not a name: expected at most 64 letters, digits, '_', '.' and"
            " '-', a letter or '_' first"
        )
    return value


def is_number(key: str) -> bool:
    """Say whether a key is a number as test cases and entries are called."""
    return _number(key) is not None
