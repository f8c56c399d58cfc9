"""The parameters of a method, as they are typed: ``key=value``, JSON, or ``@file``."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from labapi_client.cli.command import UsageError

MAX_FILE = 1024 * 1024  # bytes; the lab takes no larger body
MAX_ERRORS = 20  # that are looked for; one is shown
MAX_SHOWN = 200  # characters of an error's text

HELP = (
    "a parameter as KEY=VALUE, all of them as JSON, or @FILE with JSON in it (@- is standard"
    " input). The method's schema says which values are numbers, and which key may be given"
    " several times."
)


def read(words: Iterable[str], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the parameters that words say; a later word wins over an earlier file.

    :param schema: of the method, None if it is not known or anything goes
    :raises UsageError: a word cannot be read
    """
    known = schema if isinstance(schema, dict) else {}
    found: dict[str, Any] = {}
    several: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("@"):
            found |= _document(_text(word[1:]), word)
        elif word.startswith("{"):
            found |= _document(word, "the JSON")
        else:
            key, equals, value = word.partition("=")
            if not key or not equals:
                raise UsageError(f"{word!r} is no parameter; expected KEY=VALUE, JSON or @FILE")
            several.setdefault(key, []).append(value)
    return found | {key: _value(key, values, known) for key, values in several.items()}


def check(parameters: Mapping[str, Any], schema: Mapping[str, Any] | None) -> None:
    """Check that parameters fit the schema of their method.

    What cannot be checked here, the lab checks.

    :raises UsageError: names the parameter and says what was expected
    """
    if schema is None:
        return
    # These take longer to import than all the rest.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        Draft202012Validator.check_schema(schema)
        validator = Draft202012Validator(schema, registry=Registry())  # which fetches nothing
        errors = list(islice(validator.iter_errors(parameters), MAX_ERRORS))
    except (SchemaError, Unresolvable, RecursionError, ArithmeticError):
        return
    # A name that is not known may be why another one is missing.
    unknown = (error for error in errors if error.validator == "additionalProperties")
    error = next(unknown, None) or best_match(errors)
    if error is not None:
        path = ".".join(["parameters", *map(str, error.absolute_path)])
        raise UsageError(f"{path}: {_said(error)}")


def _text(name: str) -> str:
    if name == "-":
        data = sys.stdin.buffer.read(MAX_FILE + 1)
    else:
        with Path(name).open("rb") as file:
            data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise UsageError(f"@{name} is larger than {MAX_FILE} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise UsageError(f"@{name} is not text in UTF-8") from None


def _document(text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{what}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{what}: expected a JSON object with the parameters")
    return found


def _value(key: str, values: list[str], schema: Mapping[str, Any]) -> Any:
    """Return what a key is given, as the schema wants it."""
    properties = schema.get("properties")
    wanted = properties.get(key) if isinstance(properties, dict) else None
    kinds = _kinds(wanted)
    if len(values) > 1:
        if "array" not in kinds:
            raise UsageError(f"{key} is given twice")
        items = wanted.get("items") if isinstance(wanted, dict) else None
        return [_scalar(key, value, _kinds(items)) for value in values]
    return _scalar(key, values[0], kinds)


def _kinds(schema: Any) -> frozenset[str]:
    """Return the types that a schema allows at its top, empty if it does not say."""
    if not isinstance(schema, dict):
        return frozenset()
    named = schema.get("type")
    kinds = {named} if isinstance(named, str) else {k for k in _list(named) if isinstance(k, str)}
    for way in ("anyOf", "oneOf"):
        for part in _list(schema.get(way)):
            kinds |= _kinds(part)
    return frozenset(kinds)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _scalar(key: str, text: str, kinds: frozenset[str]) -> Any:
    if not kinds or "string" in kinds:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if kinds == {"array"}:
            return [text]
        raise UsageError(f"{key}: {text!r} is no {' or '.join(sorted(kinds))}") from None


def _said(error: Any) -> str:
    """Say what is wrong, and what may have been meant."""
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = sorted(error.schema.get("properties", {}))
        extra = sorted(set(error.instance) - set(known))
        if extra:
            near = difflib.get_close_matches(extra[0], known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return f"there is no {extra[0]!r}; known: {', '.join(known) or 'none'}{hint}"
    if error.validator == "required" and isinstance(error.instance, dict):
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{missing[0]!r} is missing"
    return str(error.message)[:MAX_SHOWN]
