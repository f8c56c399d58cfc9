"""What bodies look like, as JSON Schema; compiled once, when the module is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry

from labapi.exceptions import InvalidInput

MAX_SHOWN = 200  # characters of an error's text
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

_WithoutPatterns = validators.extend(_Validator, {"pattern": lambda *_: iter(())})


def compiled(schema: Mapping[str, Any]) -> Draft202012Validator:
    """Return a validator; it fetches nothing, whatever the schema refers to."""
    validator: Draft202012Validator = _Validator(schema, registry=Registry())
    return validator


def without_patterns(schema: Mapping[str, Any]) -> Draft202012Validator:
    """Return a validator that matches no regular expressions, for schemas that others wrote."""
    validator: Draft202012Validator = _WithoutPatterns(schema, registry=Registry())
    return validator


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
