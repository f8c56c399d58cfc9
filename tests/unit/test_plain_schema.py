"""Schemas that msgspec can compare with: it never says yes where jsonschema says no."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from labapi import plain_schema
from labapi.agent.plugins import linux_system
from labapi.api.schemas import testcases

SIZE = st.integers(-3, 3) | st.sampled_from([2.5, 2**53, 10**30])
LENGTH = st.integers(0, 3)
NAMES = ("a", "b c", "größe")

WORDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "string": {"minLength": LENGTH, "maxLength": LENGTH},
    "integer": {"minimum": SIZE, "maximum": SIZE, "exclusiveMinimum": SIZE},
    "number": {"minimum": SIZE, "maximum": SIZE, "exclusiveMaximum": SIZE},
    "boolean": {},
    "null": {},
}
ALONE = st.one_of(
    *(
        st.fixed_dictionaries({"type": st.just(kind)}, optional=words)
        for kind, words in WORDS.items()
    ),
    st.fixed_dictionaries(
        {"type": st.lists(st.sampled_from(list(WORDS)), min_size=1, unique=True)}
    ),
    st.lists(st.sampled_from(NAMES), min_size=1, unique=True).map(lambda texts: {"enum": texts}),
    st.sampled_from([{}, {"type": "string", "pattern": "^a"}, {"type": "string", "title": "t"}]),
)


def objects(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from(NAMES), schemas)},
        optional={
            "required": st.lists(st.sampled_from(NAMES), unique=True),
            "additionalProperties": st.booleans(),
        },
    )


def larger(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    arrays = st.fixed_dictionaries(
        {"type": st.just("array")}, optional={"items": schemas, "minItems": LENGTH}
    )
    several = st.lists(schemas, min_size=1, max_size=3)
    either = st.sampled_from(["anyOf", "oneOf"]).flatmap(
        lambda word: several.map(lambda s: {word: s})
    )
    return objects(schemas) | arrays | either


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | SIZE
    | st.floats(-3, 3)
    | st.sampled_from([*NAMES, "", "\U0001f600"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=6,
)


@given(
    objects(st.recursive(ALONE, larger, max_leaves=5)),
    st.dictionaries(st.sampled_from(NAMES), VALUES),
)
def test_what_plainly_fits_is_valid(schema: dict[str, Any], document: dict[str, Any]) -> None:
    fits = plain_schema.fits(schema)
    if fits is not None and fits(document):
        Draft202012Validator(schema).validate(document)


@pytest.mark.parametrize(
    ("schema", "document"),
    [
        (linux_system.RUN_SHELL_SCHEMA, {"command": "true"}),
        (linux_system.RUN_SHELL_SCHEMA, {"command": "echo", "args": ["hello"]}),
        (linux_system.RUN_SHELL_SCHEMA, {"command": "echo", "args": "hello"}),
        (linux_system.PING_SCHEMA, {"host": "192.0.2.1", "count": 3}),
        (linux_system.NOTHING, {}),
        (
            testcases.CREATE.schema,
            {"plugin": "p", "method": "m", "host": "h", "parameters": {"a": [1]}, "timeout": 3},
        ),
        (
            testcases.CREATE.schema,
            {"plugin": "p", "method": "m", "requires": ["rack=1"], "on_no_host": "wait"},
        ),
    ],
)
def test_bodies_and_parameters_are_plain(schema: Any, document: Any) -> None:
    fits = plain_schema.fits(schema)
    assert fits is not None
    assert fits(document)
    assert not fits({**document, "no_such": 1})


@pytest.mark.parametrize(
    ("schema", "fit", "do_not"),
    [
        ({"type": "string", "minLength": 1, "maxLength": 2}, ["é", "\U0001f600" * 2], ["", "abc"]),
        ({"type": "integer", "minimum": 1, "maximum": 3}, [1, 3], [0, 4, True, "1", None, 1.5]),
        ({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 3}, [2], [1, 3]),
        ({"type": "number", "exclusiveMinimum": 0}, [1, 0.5], [0, 0.0, -1, False]),
        ({"type": "number", "maximum": 2**53}, [2**53, -1.5], [2**53 + 1]),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, [["a"]], [[], [1], "a"]),
        ({"type": ["string", "null"]}, [None, "a"], [1, False]),
        ({"oneOf": [{"type": "integer"}, {"type": "array"}]}, [1, [1, None]], ["a", {}]),
        ({"enum": ["a", "b"]}, ["a"], ["c", None]),
        ({"type": "boolean"}, [True], [1, "true", None]),
        ({"type": "object"}, [{}, {"a": [1]}], [[], None]),
        ({}, [None, 1, {"a": []}], []),
    ],
)
def test_at_the_bounds(schema: Any, fit: list[Any], do_not: list[Any]) -> None:
    fits = plain_schema.fits({"type": "object", "properties": {"a": schema}})
    assert fits is not None
    assert [value for value in fit if not fits({"a": value})] == []
    assert [value for value in do_not if fits({"a": value})] == []


@pytest.mark.parametrize(
    "schemas", [[{"type": "integer"}, {"type": "number"}], [{"enum": ["a"]}, {"type": "string"}]]
)
def test_what_may_fit_two_schemas_is_not_plain(schemas: list[Any]) -> None:
    assert plain_schema.fits({"type": "object", "properties": {"a": {"oneOf": schemas}}}) is None


@pytest.mark.parametrize(
    "word", ["pattern", "format", "uniqueItems", "$ref", "if", "not", "dependentRequired", "new"]
)
def test_what_is_not_known_is_not_plain(word: str) -> None:
    assert plain_schema.fits({"type": "object", word: True}) is None
    assert plain_schema.fits({"type": "object", "properties": {"a": {word: True}}}) is None


def test_a_schema_of_any_depth_is_answered() -> None:
    schema: Any = {"type": "object", "properties": {}}
    for _ in range(5000):
        schema = {"type": "object", "properties": {"a": schema}}
    assert plain_schema.fits(schema) is None


def test_a_document_of_any_depth_is_answered() -> None:
    fits = plain_schema.fits({"type": "object", "properties": {"a": {"type": "object"}}})
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    assert fits is not None
    assert fits(deep) in (True, False)
    assert fits(msgspec.json.decode(b'{"a": {"b": [1, null]}}'))
