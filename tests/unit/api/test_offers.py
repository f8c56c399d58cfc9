"""An agent announces what it likes; the API goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from labapi.api import offers
from labapi.exceptions import InvalidInput


def check(schema: dict[str, Any], parameters: dict[str, Any]) -> None:
    plugins = {"p": {"m": {"description": "", "schema": schema}}}
    host: Any = SimpleNamespace(host="lab-1", plugins=plugins)
    offers.check(host, "p", "m", parameters)


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
