"""Parsers of option values: each takes the text and raises ``ValueError("expected …")``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

N = TypeVar("N", int, float)

TRUE = frozenset({"true", "1", "yes", "on", "t", "y"})
FALSE = frozenset({"false", "0", "no", "off", "f", "n"})


def text(value: str) -> str:
    """Return the value as it is written, without surrounding blanks."""
    return value.strip()


def boolean(value: str) -> bool:
    """Read a truth value as Swift's ``config_true_value`` does, but refuse what is neither."""
    word = value.strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise ValueError("expected true or false (also yes/no, on/off, 1/0)")


def comma_list(value: str) -> tuple[str, ...]:
    """Split a list at its commas; blanks around the items and empty items do not count."""
    return tuple(item for item in (part.strip() for part in value.split(",")) if item)


def integer(minimum: int, maximum: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from ``minimum`` to ``maximum``."""
    return _within(int, minimum, maximum, f"a whole number from {minimum} to {maximum}")


def seconds(minimum: float, maximum: float) -> Callable[[str], float]:
    """Return a parser of times in seconds, fractions allowed."""
    return _within(float, minimum, maximum, f"seconds from {minimum:g} to {maximum:g}")


def _within(number: type[N], minimum: N, maximum: N, expected: str) -> Callable[[str], N]:
    def parse(value: str) -> N:
        try:
            found = number(value)
        except ValueError:
            raise ValueError(f"expected {expected}") from None
        if not minimum <= found <= maximum:  # also refuses nan
            raise ValueError(f"expected {expected}")
        return found

    return parse


def choice(*allowed: str) -> Callable[[str], str]:
    """Return a parser that takes one of a few words."""

    def parse(value: str) -> str:
        word = value.strip()
        if word not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return word

    return parse
