"""What bodies look like, as JSON Schema; compiled once, when the module is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry

from labapi.exceptions import InvalidInput

MAX_SHOWN = 200  # characters of an error's text
# Characters of an error's text, which repeats the whole value, that count as one step.
PER_STEP = 1000
# Errors that one keyword finds in one value: one is shown, and a body of 1 MiB may have 500,000.
MAX_ERRORS = 20


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


def compiled(schema: Mapping[str, Any]) -> Draft202012Validator:
    """Return a validator; it fetches nothing, whatever the schema refers to."""
    validator: Draft202012Validator = _Validator(schema, registry=Registry())
    return validator


def foreign(schema: Mapping[str, Any]) -> Draft202012Validator:
    """Return a validator of a schema that others wrote, for use under :func:`within` only.

    It matches no regular expressions, compares no items with one another, and fetches nothing.

    :param schema: without ``$schema``, which would bring in a validator that counts nothing
    :raises SchemaError: it is no schema
    """
    _Foreign.check_schema(schema)
    validator: Draft202012Validator = _Foreign(schema, registry=Registry())
    return validator


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


def check(validator: Draft202012Validator, document: Any, root: str = "") -> None:
    """Check a document.

    :param root: the name of the field that the document is, empty for a whole body
    :raises InvalidInput: names the field and says what was expected
    """
    error = best_match(validator.iter_errors(document))
    if error is not None:
        path = ".".join(str(part) for part in ([root] if root else []) + list(error.absolute_path))
        raise InvalidInput(f"{path}: {_text(error)}" if path else _text(error))


def _text(error: ValidationError) -> str:
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = sorted(error.schema.get("properties", {}))
        extra = sorted(set(error.instance) - set(known))
        return f"unknown field {extra[0][:64]!r}; known: {', '.join(known) or 'none'}"
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"the field '{missing}' is missing"
    if len(error.message) > MAX_SHOWN:
        return f"does not fit {error.validator} {str(error.validator_value)[:MAX_SHOWN]}"
    return str(error.message)
