"""What is wrong with a plan: all of it at once, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from labapi.exceptions import InvalidInput, LabapiError
from labapi.known import there_is

MAX_SHOWN = 100  # problems that are told; the others are counted
MAX_PATH = 300  # characters of a place
MAX_TEXT = 500  # characters of what is wrong there
# Wrong names for which the one that may be meant is looked for, and names among which: it takes
# 50 µs for each of these.
MAX_HINTS, MAX_NAMES = 20, 100
MAX_REPEATED = 64  # characters of a wrong value
# An error about a field of a body: the way to it, and what is wrong.
_of_field = re.compile(r"([a-z_]{1,64}(?:\.[^\s:.]{1,64})*): (.+)", re.DOTALL).fullmatch


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    :ivar path: where, as ``testplan/2/Serial-Step-1/1/host``; empty for the whole document
    :ivar message: what is wrong there
    """

    path: str
    message: str

    def __str__(self) -> str:
        """Return both on one line."""
        return f"{self.path}: {self.message}" if self.path else self.message


class BadPlan(InvalidInput):
    """A plan that cannot run; ``errors`` has a text for each thing that is wrong.

    :param problems: the first of them
    :param count: how many there are
    """

    def __init__(self, problems: Sequence[Problem], count: int) -> None:
        lines = [str(problem) for problem in problems]
        if len(lines) < count:
            lines.append(f"and {count - len(lines)} more")
        things = "one thing is wrong" if count == 1 else f"{count} things are wrong, the first"
        super().__init__(f"the plan cannot run; {things}: {lines[0]}", lines)


class TooMuch(Exception):
    """The plan is larger than allowed; what follows is not looked at."""


class Problems:
    """Collects what is wrong with one plan.

    :ivar found: the first ``MAX_SHOWN`` of them, in the order in which they were found
    :ivar count: how many there are
    """

    def __init__(self) -> None:
        self.found: list[Problem] = []
        self.count = 0
        self._hints = 0

    def add(self, path: str, message: object) -> None:
        """Take note of one.

        :param message: a text, or an error whose text says it
        """
        self.count += 1
        if len(self.found) < MAX_SHOWN:
            problem = Problem(_printable(path, MAX_PATH), _printable(str(message), MAX_TEXT))
            self.found.append(problem)

    def blame(self, path: str, error: LabapiError, field: str) -> None:
        """Take note of an error about a body that stands at a path.

        :param field: the one that is to blame if the error's text does not begin with another
        """
        found = _of_field(str(error))
        if found:
            self.add(f"{path}/{found[1].replace('.', '/')}", found[2])
        else:
            self.add(f"{path}/{field}", error)

    def there_is(self, names: Iterable[str], wanted: str) -> str:
        """Say what there is instead of a wrong name, at a bounded cost for many of them."""
        self._hints += 1
        if self._hints > MAX_HINTS:
            return "it is unknown"
        return there_is(islice(names, MAX_NAMES), wanted[:MAX_PATH])

    def too_much(self, what: str) -> TooMuch:
        """Take note that a plan is too large, and return what ends the reading of it.

        :param what: how much it has
        """
        self.add("testplan", what)
        return TooMuch()

    def check(self) -> None:
        """Check that nothing is wrong.

        :raises BadPlan: something is
        """
        if self.count:
            raise BadPlan(self.found, self.count)


def shown(value: Any) -> str:
    """Return how an error repeats a value that is wrong: short, whatever it is."""
    if isinstance(value, str):
        return repr(value[:MAX_REPEATED])
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return msgspec.json.encode(value).decode()[:MAX_REPEATED]


def _printable(text: str, most: int) -> str:
    """Return a text that names from outside are part of, without what would garble a terminal."""
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
