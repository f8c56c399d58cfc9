"""Documents that plainly fit a JSON Schema, told apart from all others in a few microseconds.

jsonschema looks at every keyword of a schema in Python: a case with three parameters takes 200
calls. What most schemas say (types, bounds of numbers and lengths, fields) msgspec can compare in
one call. It says yes or no and nothing else, and no only means that jsonschema is to be asked. A
schema that says more is not plain, and is left to jsonschema whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, Union

import msgspec

# Keywords that allow and forbid nothing.
_REMARKS = frozenset({"$comment", "default", "description", "examples", "title", "x-meaning"})
_SIZES = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"}
_LENGTHS = {"minLength": "min_length", "maxLength": "max_length"}
_OPTIONAL: dict[str, Any] = {"default": None}
_ITEMS = {"minItems": "min_length", "maxItems": "max_length"}


class _NotPlain(Exception):
    """A schema says what msgspec cannot compare, or not in the same way."""


def fits(schema: Any) -> Callable[[Any], bool] | None:
    """Return what says whether a document plainly fits a schema; None if the schema is not plain.

    :param schema: of an object
    """
    try:
        wanted = _type(schema)
        if not isinstance(wanted, type) or not issubclass(wanted, msgspec.Struct):
            return None
        msgspec.json.Decoder(wanted)  # says at once if msgspec cannot tell parts of a union apart
    except (_NotPlain, TypeError, ValueError, OverflowError, RecursionError):
        return None

    def fit(document: Any) -> bool:
        try:
            msgspec.convert(document, wanted)
        except (msgspec.ValidationError, RecursionError):
            return False
        return True

    return fit


def _type(schema: Any) -> Any:
    """Return a type that has no value but what fits the schema."""
    if not isinstance(schema, dict):
        raise _NotPlain
    said = {word: value for word, value in schema.items() if word not in _REMARKS}
    if not said:
        return Any
    for together in ("anyOf", "oneOf"):
        if said.keys() == {together}:
            return _either(said[together])
    if "enum" in said:
        return _one_of(said)
    kind = said.pop("type", None)
    if isinstance(kind, list):
        return _either([{**said, "type": one} for one in kind])
    if kind not in _KINDS:
        raise _NotPlain
    return _KINDS[kind](said)


def _either(schemas: Iterable[Any]) -> Any:
    """Return the type of what fits one schema of several, of which no two are of the same type."""
    kinds = [schema.get("type") for schema in schemas]
    names = {"number" if kind == "integer" else kind for kind in kinds if isinstance(kind, str)}
    if len(names) < len(kinds):
        raise _NotPlain
    return Union[tuple(_type(schema) for schema in schemas)]  # noqa: UP007 (known at run time only)


def _one_of(said: Mapping[str, Any]) -> Any:
    values = tuple(said["enum"])
    of_texts = said.keys() == {"enum"} or said == {"enum": said["enum"], "type": "string"}
    if not of_texts or not all(isinstance(value, str) for value in values):
        raise _NotPlain
    return Literal[values]


def _bounded(of: Any, said: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    if not said.keys() <= names.keys():
        raise _NotPlain
    bounds: dict[str, Any] = {names[word]: value for word, value in said.items()}
    return Annotated[of, msgspec.Meta(**bounds)] if bounds else of


def _number(said: Mapping[str, Any]) -> Any:
    # As a float, a large integer would be another one.
    return _bounded(int, said, _SIZES) | _bounded(float, said, _SIZES)


def _array(said: Mapping[str, Any]) -> Any:
    items = _type(said["items"]) if "items" in said else Any
    return _bounded(
        list[items],  # type: ignore[valid-type]
        {word: value for word, value in said.items() if word != "items"},
        _ITEMS,
    )


def _object(said: Mapping[str, Any]) -> Any:
    if not said.keys() <= {"properties", "required", "additionalProperties"}:
        raise _NotPlain
    others = said.get("additionalProperties", True)
    properties, required = said.get("properties", {}), frozenset(said.get("required", ()))
    if not isinstance(others, bool) or not required <= properties.keys():
        raise _NotPlain
    names = {f"f{number}": name for number, name in enumerate(properties)}
    fields = [
        (field, _type(properties[name]), msgspec.field(**({} if name in required else _OPTIONAL)))
        for field, name in names.items()
    ]
    return msgspec.defstruct(
        "Object", fields, rename=names, forbid_unknown_fields=not others, kw_only=True
    )


_KINDS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "string": lambda said: _bounded(str, said, _LENGTHS),
    "integer": lambda said: _bounded(int, said, _SIZES),
    "number": _number,
    "boolean": lambda said: _bounded(bool, said, {}),
    "null": lambda said: _bounded(None, said, {}),
    "array": _array,
    "object": _object,
}
