"""Sentences over a host's metadata and facts, such as ``rack=r7`` or ``memory_total_mib >= 4096``.

    key=value  key!=value  key in (a, b)  key not in (a, b)  key >= 4096 (also <=, <, >)  key  !key

A key is that of the metadata where the host has such a one, else that of the facts. Values with
spaces or brackets stand in quotation marks. A list fulfils what any of its items fulfils. Only
``!=``, ``not in`` and ``!key`` are fulfilled by a host without the key.
"""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from labapi.exceptions import InvalidInput
from labapi.scheduler.host_state import HostState

# Most sentences in one list, characters of a sentence, and values in its brackets: each sentence
# may be compared with each host.
MAX_SENTENCES = 32
MAX_SENTENCE = 512
MAX_VALUES = 64
MAX_SHOWN = 64  # characters of a host's value in an explanation

_FALSE = frozenset({"", "0", "false", "no", "off"})  # metadata that a bare key does not accept
MISSING = object()  # the value of a key that a host does not have

_SPACE = re.compile(r"\s*")
_KEY = re.compile(r"[A-Za-z0-9._:-]{1,255}")
_OPERATOR = re.compile(r"==|=|!=|>=|<=|>|<|(?:not\s+)?in\b")
_VALUE = re.compile(r"""[^\s,()"'=<>!]+|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""")
_ESCAPED = re.compile(r"\\(.)")
# Says whether a text is a number.
is_number = re.compile(r"[+-]?\d{1,300}(?:\.\d{0,300})?(?:[eE][+-]?\d{1,3})?", re.ASCII).fullmatch

# What compares numbers.
LIMITS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class InvalidSentence(InvalidInput):
    """A sentence that cannot be read.

    :ivar column: where, counted from 1
    """

    def __init__(self, sentence: str, column: int, problem: str) -> None:
        shown = sentence if len(sentence) <= MAX_SHOWN else f"{sentence[:MAX_SHOWN]}…"
        super().__init__(f"{shown!r}, column {column}: {problem}")
        self.column = column


@dataclass(frozen=True)
class Requirement:
    """A sentence that was read.

    :ivar text: the caller's own sentence
    :ivar key: of which metadata or fact it speaks
    :ivar comparison: how the values are compared; empty asks for the key alone
    :ivar values: one, or those in brackets
    :ivar negated: it is fulfilled where what it says is not so
    """

    text: str
    key: str
    comparison: str = ""
    values: tuple[str, ...] = ()
    negated: bool = False

    def met_by(self, host: HostState) -> bool:
        """Say whether a host fulfils it."""
        value = value_of(host, self.key)
        return (value is not MISSING and self.accepts(value)) is not self.negated

    def lack(self, host: HostState) -> str:
        """Say what a host that does not fulfil it has instead."""
        value = value_of(host, self.key)
        if value is MISSING:
            return f"it has no {self.key!r}"
        shown = f"its {self.key} is {str(value)[:MAX_SHOWN]}"
        if self.comparison in LIMITS and number_of(value) is None:
            return f"{shown}, which is not a number"
        return shown

    def accepts(self, value: Any) -> bool:
        """Say whether what it says is so of a host's value, negated or not."""
        if isinstance(value, list):
            return any(self._holds_for(item) for item in value)
        return self._holds_for(value)

    def _holds_for(self, value: Any) -> bool:
        if not self.comparison:
            return value.lower() not in _FALSE if isinstance(value, str) else bool(value)
        compare = LIMITS.get(self.comparison)
        if compare is None:
            return any(_equal(value, wanted) for wanted in self.values)
        number = number_of(value)
        return number is not None and compare(number, float(self.values[0]))


def value_of(host: HostState, key: str) -> Any:
    """Return what a host's metadata, else its facts, say under a key; else ``MISSING``."""
    if key in host.metadata:
        return host.metadata[key]
    return host.facts.get(key, MISSING)


def has(host: HostState, key: str) -> bool:
    """Say whether a host has the key at all."""
    return value_of(host, key) is not MISSING


def _equal(value: Any, wanted: str) -> bool:
    if isinstance(value, str):
        return value == wanted
    if isinstance(value, bool):
        return wanted.lower() == str(value).lower()
    if isinstance(value, int | float):
        return is_number(wanted) is not None and value == float(wanted)
    return False


def number_of(value: Any) -> float | None:
    """Return a value, or an item of a list, as ``<`` and ``>`` compare it; None: they do not."""
    if isinstance(value, str):
        return float(value) if is_number(value.strip()) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return None


def parse_all(field: str, sentences: Iterable[str]) -> tuple[Requirement, ...]:
    """Read a list of sentences that a caller sent.

    :param field: what the caller calls the list
    :raises InvalidInput: there are too many, or one cannot be read; the text names the field
    """
    found = tuple(sentences)
    if len(found) > MAX_SENTENCES:
        raise InvalidInput(f"{field}: at most {MAX_SENTENCES} sentences, not {len(found)}")
    try:
        return tuple(map(parse, found))
    except InvalidSentence as error:
        raise InvalidInput(f"{field}: {error}") from None


@functools.lru_cache(maxsize=4096)
def parse(sentence: str) -> Requirement:
    """Read one sentence.

    :raises InvalidSentence: it cannot be read; the text says at which column, and what would do
    """
    if len(sentence) > MAX_SENTENCE:
        raise InvalidSentence(sentence, MAX_SENTENCE + 1, f"at most {MAX_SENTENCE} characters")
    return _Reader(sentence).requirement()


class _Reader:
    """Reads one sentence from the left."""

    def __init__(self, sentence: str) -> None:
        self._text = sentence
        self._at = 0
        self._skip()

    def requirement(self) -> Requirement:
        absent = self._take("!")
        key = self._match(_KEY, "a key is expected (letters, digits and ._:-)")
        if absent or self._at == len(self._text):
            self._end("an operator belongs behind a key without '!'" if absent else "")
            return Requirement(self._text, key, negated=absent)
        found = self._match(_OPERATOR, "expected = != >= <= > < in (…) or not in (…)")
        comparison = " ".join(found.split())
        if comparison.endswith("in"):
            values = self._list()
        elif comparison in LIMITS:
            values = (self._limit(),)
        else:
            values = (self._value(),)
        self._end("a value with spaces belongs in quotation marks")
        return Requirement(
            self._text,
            key,
            comparison if comparison in LIMITS else "in",
            values,
            negated=comparison in ("!=", "not in"),
        )

    def _list(self) -> tuple[str, ...]:
        if not self._take("("):
            raise self._error("values in brackets are expected: (a, b)")
        values = [self._value()]
        while self._take(","):
            if len(values) == MAX_VALUES:
                raise self._error(f"at most {MAX_VALUES} values in brackets")
            values.append(self._value())
        if not self._take(")"):
            raise self._error("expected ',' or ')'")
        return tuple(values)

    def _limit(self) -> str:
        begin = self._at
        value = self._value()
        if is_number(value) is None or not math.isfinite(float(value)):
            raise InvalidSentence(self._text, begin + 1, f"a number is expected, not {value!r}")
        return value

    def _value(self) -> str:
        text = self._match(_VALUE, "a value is expected, in quotation marks if it is empty")
        return _ESCAPED.sub(r"\1", text[1:-1]) if text[0] in "\"'" else text

    def _match(self, pattern: re.Pattern[str], problem: str) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise self._error(problem)
        self._at = found.end()
        self._skip()
        return found[0]

    def _take(self, character: str) -> bool:
        if not self._text.startswith(character, self._at):
            return False
        self._at += 1
        self._skip()
        return True

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _end(self, hint: str) -> None:
        if self._at < len(self._text):
            raise self._error(f"nothing more is expected here; {hint}")

    def _error(self, problem: str) -> InvalidSentence:
        return InvalidSentence(self._text, self._at + 1, problem)
