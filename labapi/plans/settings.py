"""What an entry may say beyond what a case by itself may: when it runs, and how often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from labapi.case import Result
from labapi.exceptions import InvalidInput
from labapi.plans import names
from labapi.plans.entry import Retry
from labapi.plans.problems import shown

MAX_ATTEMPTS = 10  # of an entry
MAX_REFERENCES = 32  # entries in same_host_as

_NOT_PASSED = tuple(result.value for result in Result if result is not Result.PASS)
# Whoever cancels a case does not want it to begin again.
_AGAIN = tuple(result for result in _NOT_PASSED if result != Result.CANCELLED)


def flag(value: Any) -> bool:
    """Check that a value is true or false.

    :raises InvalidInput: it is not
    """
    if not isinstance(value, bool):
        raise InvalidInput(f"{shown(value)} is neither true nor false")
    return value


def _retry(value: Any) -> Retry:
    if not isinstance(value, dict) or not value.keys() <= {"on", "attempts"}:
        raise InvalidInput('expected an object such as {"on": ["ERROR"], "attempts": 2}')
    attempts = value.get("attempts", Retry().attempts)
    if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
        raise InvalidInput(f"attempts: expected a number from 1 to {MAX_ATTEMPTS}")
    if attempts > MAX_ATTEMPTS:
        raise InvalidInput(f"attempts: at most {MAX_ATTEMPTS}")
    on = _results(value["on"], _AGAIN, "on: ") if "on" in value else Retry().on
    return Retry(on=on, attempts=attempts)


def _continue_on(value: Any) -> tuple[Result, ...]:
    return _results(value, _NOT_PASSED)


def _results(value: Any, allowed: tuple[str, ...], field: str = "") -> tuple[Result, ...]:
    if not isinstance(value, list) or len(value) > len(Result):
        raise InvalidInput(f"{field}expected a list of results, of {', '.join(allowed)}")
    for item in value:
        if item not in allowed:
            raise InvalidInput(f"{field}{shown(item)} is not one of {', '.join(allowed)}")
    return tuple(map(Result, dict.fromkeys(value)))


def _same_host_as(value: Any) -> tuple[str, ...]:
    given = value if isinstance(value, list) else [value]
    if not 0 < len(given) <= MAX_REFERENCES or not all(isinstance(item, str) for item in given):
        raise InvalidInput(
            "expected the place of another entry, such as '1/Serial-Step-1/2', or a list of at most"
            f" {MAX_REFERENCES}"
        )
    return tuple(dict.fromkeys(given))


# Field → what makes a value of it, or raises InvalidInput.
SETTINGS: Mapping[str, Callable[[Any], Any]] = {
    "DESCRIPTION": names.text,
    "always": flag,
    "continue_on": _continue_on,
    "register": names.word,
    "retry": _retry,
    "same_host_as": _same_host_as,
}
