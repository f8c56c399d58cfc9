"""No schema that a host announces holds a worker of the API, whatever it is asked to judge."""

from __future__ import annotations

import contextlib
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from labapi.exceptions import InvalidInput
from labapi.scheduler import catalogue


def any_of(inner: dict[str, Any], *numbers: int) -> dict[str, Any]:
    """Return a schema with alternatives in alternatives, so many on each level."""
    for number in numbers:
        inner = {"anyOf": [inner] * number}
    return inner


STRING = {"type": "string"}


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"uniqueItems": True}}},
        any_of(STRING, 10, 10, 3),
        {"properties": {"a": any_of(STRING, 10, 10, 3)}},
        {"allOf": [{"not": {}}] * 300},
        {"properties": {"a": {"items": any_of({"const": 1}, 300)}}},
    ],
    ids=["unique", "types", "types of a part", "not", "items"],
)
@pytest.mark.parametrize(
    "value", [[{"b": i} for i in range(60_000)], [[i] for i in range(60_000)], "x" * 10**6]
)
def test_a_large_value(schema: dict[str, Any], value: Any) -> None:
    plugins = json.dumps({"p": {"m": {"description": "d", "schema": schema}}})
    host: Any = SimpleNamespace(host="hostile", plugins=plugins)
    began = time.thread_time()
    with contextlib.suppress(InvalidInput):
        catalogue.check(host, "p", "m", {"a": value})
    assert time.thread_time() - began < 5  # of the processor; minutes without a bound
