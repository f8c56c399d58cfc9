"""Documents compared with JSON Schema, at a bounded cost, also where others wrote the schema."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry

from labapi import plain_schema
from labapi.exceptions import InvalidInput

MAX_SHOWN = 200  # characters of an error's text
# Characters of an error's text, which repeats the whole value, that count as one step.
PER_STEP = 1000
# Errors that one keyword finds in one value: one is shown, and a body of 1 MiB may have 500,000.
MAX_ERRORS = 20
# Names, of so many characters, that a wrong one is compared with: 10 µs each.
MAX_NAMES, MAX_NAME = 100, 64
# Beside a pattern, what it means: an error says this instead of the regular expression.
MEANING = "x-meaning"
# What Python calls otherwise than JSON.
_JSON = {None: "null", True: "true", False: "false"}


def _bounded(keyword: Callable[..., Any]) -> Callable[..., Any]:
    def check(*args: Any) -> Iterator[ValidationError]:
        return islice(keyword(*args) or (), MAX_ERRORS)

    return check


_Validator = validators.extend(
    Draft202012Validator,
    {name: _bounded(keyword) for name, keyword in Draft202012Validator.VALIDATORS.items()},
)


class TooExpensive(Exception):
    """A foreign schema takes more steps than it may, or steps within more steps."""


# Keywords within keywords. A schema that refers to itself would use up the interpreter's stack, and
# the library's native code does not survive that.
MAX_NESTED = 80


@dataclass(slots=True)
class _Work:
    """What the foreign schemas of one document may still cost.

    :ivar steps: keywords that may still be looked at
    :ivar nested: keywords that are being looked at, one within the other
    """

    steps: int
    nested: int = 0


_work: ContextVar[_Work] = ContextVar("work")


def _counted(keyword: Callable[..., Any]) -> Callable[..., Any]:
    bounded = _bounded(keyword)

    def check(*args: Any) -> Iterator[ValidationError]:
        work = _work.get()
        _take(work, 1)
        work.nested += 1
        try:
            if work.nested > MAX_NESTED:
                raise TooExpensive
            for error in bounded(*args):
                _take(work, len(error.message) // PER_STEP)
                yield error
        finally:
            work.nested -= 1

    return check


def _take(work: _Work, steps: int) -> None:
    work.steps -= steps
    if work.steps < 0:
        raise TooExpensive


def _accept(*_: Any) -> Iterator[ValidationError]:
    return iter(())


# For schemas that others wrote: keywords are counted, and those whose work is not bounded by their
# number are left out. What is unique among things that cannot be sorted is looked for in pairs.
_Foreign = validators.extend(
    Draft202012Validator,
    {name: _counted(keyword) for name, keyword in Draft202012Validator.VALIDATORS.items()}
    | {"pattern": _accept, "uniqueItems": _accept},
)


class Schema:
    """What documents are compared with.

    :ivar schema: as it is written
    :ivar validator: finds out what is wrong
    """

    def __init__(self, validator: Draft202012Validator) -> None:
        self.schema = validator.schema
        self.validator = validator
        self._fits = plain_schema.fits(validator.schema)

    def fits(self, document: Any) -> bool:
        """Say whether a document plainly fits; of one that does not, the validator has to say."""
        return self._fits is not None and self._fits(document)


def compiled(schema: Mapping[str, Any]) -> Schema:
    """Return a schema to compare with; it fetches nothing, whatever it refers to."""
    return Schema(_Validator(schema, registry=Registry()))


def foreign(schema: Mapping[str, Any]) -> Schema:
    """Return a schema that others wrote, to compare with under :func:`within` only.

    It matches no regular expressions, compares no items with one another, and fetches nothing.

    :param schema: without ``$schema``, which would bring in a validator that counts nothing
    :raises SchemaError: it is no schema
    """
    _Foreign.check_schema(schema)
    return Schema(_Foreign(schema, registry=Registry()))


@contextmanager
def within(steps: int) -> Iterator[None]:
    """Let foreign validators look at so many keywords; at one more they raise TooExpensive.

    They raise it, too, where more than ``MAX_NESTED`` keywords stand one within the other.
    """
    token = _work.set(_Work(steps))
    try:
        yield
    finally:
        _work.reset(token)


def check(schema: Schema, document: Any, root: str = "") -> None:
    """Check a document.

    :param root: the name of the field that the document is, empty for a whole body
    :raises InvalidInput: names the field and says what was expected
    """
    if schema.fits(document):
        return
    error = best_match(schema.validator.iter_errors(document))
    if error is not None:
        path = ".".join(str(part) for part in ([root] if root else []) + list(error.absolute_path))
        raise InvalidInput(f"{path}: {_text(error)}" if path else _text(error))


def texts(field: str, value: Iterable[Any], longest: int) -> tuple[str, ...]:
    """Check that a list is one of so many texts at most, without any twice.

    It is for lists from outside, each of whose items would take a schema some microseconds.

    :param field: the name of the list
    :raises InvalidInput: it is not
    """
    found = list(value)
    if len(found) > longest:
        raise InvalidInput(f"{field}: at most {longest} items, not {len(found)}")
    for item in found:
        if not isinstance(item, str):
            raise InvalidInput(f"{field}: {str(item)[:64]!r} is not a string")
    (most, count), *_ = Counter(found).most_common(1) or [("", 0)]
    if count > 1:
        raise InvalidInput(f"{field}: {most[:64]!r} is given twice")
    return tuple(found)


def _text(error: ValidationError) -> str:
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        return _unknown(error.instance, error.schema.get("properties", {}))
    if error.validator == "type" and isinstance(error.instance, bool | None):
        return f"{_JSON[error.instance]} is not of type {error.validator_value!r}"
    if error.validator == "exclusiveMinimum":
        return f"{error.instance!r} is not greater than {error.validator_value}"
    if error.validator == "pattern" and MEANING in error.schema:
        return f"{error.instance[:MAX_NAME]!r} is not {error.schema[MEANING]}"
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"the field '{missing}' is missing"
    if len(error.message) > MAX_SHOWN:
        return f"does not fit {error.validator} {str(error.validator_value)[:MAX_SHOWN]}"
    return str(error.message)


def _unknown(document: Iterable[str], fields: Iterable[str]) -> str:
    known = sorted(fields)
    wrong = min(set(document) - set(known))[:MAX_NAME]
    short = [name for name in known if len(name) <= MAX_NAME][:MAX_NAMES]
    near = difflib.get_close_matches(wrong, short, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown field {wrong!r}; known: {', '.join(known) or 'none'}{hint}"
