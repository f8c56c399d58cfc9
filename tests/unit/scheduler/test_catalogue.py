"""An agent announces what it likes; the API goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from labapi.exceptions import InvalidInput
from labapi.rpc.messages import MethodDescription
from labapi.scheduler import catalogue


def check(schema: dict[str, Any], parameters: dict[str, Any]) -> None:
    plugins = {"p": {"m": {"description": "", "schema": schema}}}
    host: Any = SimpleNamespace(host="lab-1", plugins=msgspec.json.encode(plugins).decode())
    catalogue.check(host, "p", "m", parameters)


def announced(**descriptions: str) -> str:
    plugins = {"p": {name: MethodDescription(description=d) for name, d in descriptions.items()}}
    return msgspec.json.encode(plugins).decode()


def test_it_is_read_as_it_was_written() -> None:
    texts = {"z": 'größer \\ "than" \n\0', "a": "", "m": "🜚 </script>"}
    read = catalogue.read(announced(**texts))
    assert read.names == "p"
    assert bytes(read.descriptions) == msgspec.json.encode({"p": texts})
    assert bytes(read.plugins["p"]["z"].schema) == b"null"


def test_there_may_be_no_plugins() -> None:
    assert catalogue.read("{}") == ({}, "", msgspec.Raw(b"{}"), None)


def test_the_same_announcement_is_decoded_once() -> None:
    text = announced(once="x")
    assert catalogue.read(text) is catalogue.read(text[:5] + text[5:])


def test_few_and_small_ones_stay_in_memory() -> None:
    first = announced(first="x")
    read = catalogue.read(first)
    for number in range(catalogue.KEPT):
        catalogue.read(announced(other=str(number)))
    assert catalogue.read(first) is not read
    large = announced(large="x" * catalogue.LARGE)
    assert catalogue.read(large) is not catalogue.read(large)
    assert catalogue.read(large) == catalogue.read(large)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"properties": {"x": schema}}
    return schema


def test_a_good_one_is_used() -> None:
    with pytest.raises(InvalidInput, match=r"^parameters\.x: 1 is not of type 'string'$"):
        check({"properties": {"x": {"type": "string"}}}, {"x": 1})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://192.0.2.1/schema"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#/nowhere"},
        {"$dynamicRef": "#nowhere"},
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"properties": {"x": {"multipleOf": 1e-300}}},
        {"properties": {"x": {"pattern": "("}}},
        {"type": "nothing"},
        nested(300),
    ],
    ids=lambda schema: str(schema)[:40],
)
def test_the_agent_judges_where_its_schema_is_broken(schema: dict[str, Any]) -> None:
    check(schema, {"x": 10**400})


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"not": {"$ref": "#"}}, {"allOf": [{"$ref": "#"}]}]
)
def test_one_that_refers_to_itself_leaves_the_stack_alone(schema: dict[str, Any]) -> None:
    # Where the stack ended decided whether that was an exception or a panic of native code.
    def from_deeper(levels: int) -> None:
        if levels:
            from_deeper(levels - 1)
        else:
            check(schema, {"x": 1})

    for levels in range(0, 300, 3):
        from_deeper(levels)


def doubling(levels: int) -> dict[str, Any]:
    """A schema in which each level is looked at twice as often as the one before."""
    refs: dict[str, Any] = {
        f"a{level}": {"allOf": [{"$ref": f"#/$defs/a{level + 1}"}] * 2} for level in range(levels)
    }
    return {"$ref": "#/$defs/a0", "$defs": {**refs, f"a{levels}": {"type": "object"}}}


def evaluated(levels: int) -> dict[str, Any]:
    return {**doubling(levels), "unevaluatedProperties": False}


def many(schema: Any) -> dict[str, Any]:
    return {"properties": {f"x{number}": schema for number in range(4000)}, "required": ["never"]}


SLOW = {"pattern": "^(a+)+$"}  # with the text below, for ever
ENDLESS = [
    doubling(60),
    evaluated(60),
    many({"type": "string"}),
    many(True),
    {"properties": {"x": SLOW}},
    {"patternProperties": {"^(a+)+$": {}}},
    {"properties": {"x": {"$schema": "https://json-schema.org/draft/2020-12/schema", **SLOW}}},
    {"$defs": {"r": {"$anchor": "r", "required": ["never"]}}, "allOf": [{"$ref": "#r"}] * 900},
]


@pytest.mark.parametrize("schema", ENDLESS, ids=lambda schema: str(schema)[:40])
def test_the_agent_judges_where_its_schema_takes_too_long(schema: dict[str, Any]) -> None:
    text = "a" * 64 + "!"
    check(schema, {"x": text, text: 1})


def test_a_schema_of_usual_size_is_used() -> None:
    properties = {f"x{number}": {"type": "string", "minLength": 1} for number in range(150)}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "properties": properties}
    with pytest.raises(InvalidInput, match=r"^parameters\.x149: 1 is not of type 'string'$"):
        check(schema, {**dict.fromkeys(properties, "y"), "x149": 1})
