"""``matrix: {"STA": ["a", "b"]}``: one entry for each combination of its values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from labapi.exceptions import InvalidInput
from labapi.plans import names
from labapi.plans.problems import shown

MAX_NAMES = 16  # of one matrix
MAX_VALUE = 200  # characters of a value, which is part of a name


def combinations(matrix: Any, most: int) -> Iterator[dict[str, Any]]:
    """Return all combinations of the values of a matrix, the last name's values change first.

    :param most: how many they may be
    :raises InvalidInput: it is no matrix, or they are more
    """
    if not isinstance(matrix, dict) or not 0 < len(matrix) <= MAX_NAMES:
        raise InvalidInput(
            f'expected an object of 1 to {MAX_NAMES} names such as {{"STA": ["a", "b"]}}'
        )
    for name, values in matrix.items():
        names.word(name)
        _check_values(name, values, most)
    count = math.prod(map(len, matrix.values()))
    if count > most:
        raise InvalidInput(f"{count} combinations; a plan has at most {most} entries")
    return (
        dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())
    )


def label(values: Mapping[str, Any]) -> str:
    """Return what a combination is called: ``STA=a,X=b``."""
    return ",".join(f"{name}={_text(value)}" for name, value in values.items())


def _check_values(name: str, values: Any, most: int) -> None:
    if not isinstance(values, list) or not 0 < len(values) <= most:
        raise InvalidInput(f"{name}: expected a list of 1 to {most} values")
    seen: set[str] = set()
    for value in values:
        if not isinstance(value, str | int | float):
            raise InvalidInput(f"{name}: {shown(value)} is no text, number, true or false")
        text = _text(value)
        if len(text) > MAX_VALUE or text in seen:
            wrong = "there twice" if text in seen else f"longer than {MAX_VALUE} characters"
            raise InvalidInput(f"{name}: {text[:64]!r} is {wrong}")
        if text:
            names.line(text)
        seen.add(text)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
