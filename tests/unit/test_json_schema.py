"""Checking documents against schemas costs little, whatever the document."""

from __future__ import annotations

import time

import pytest

from labapi import json_schema
from labapi.exceptions import InvalidInput

WORDS = {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize("words", [WORDS, {"anyOf": [{"type": "string"}, WORDS]}])
def test_very_many_errors_cost_no_more_than_a_few(words: dict[str, object]) -> None:
    validator = json_schema.compiled({"type": "object", "properties": {"args": words}})
    began = time.thread_time()
    with pytest.raises(InvalidInput, match=r"^args\.\d+: 1 is not of type 'string'$"):
        json_schema.check(validator, {"args": [1] * 500_000})
    assert time.thread_time() - began < 2


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"reqires": 1}, r"unknown field 'reqires'; known: .*requires, seconds; did you mean 'req"),
        ({"x" * 100_000: 1}, r"unknown field 'x{64}'; known: name, on, requires, seconds$"),
        ({"name": None}, "name: null is not of type 'string'$"),
        ({"name": True}, "name: true is not of type 'string'$"),
        ({"name": "a b"}, "name: 'a b' is not one word$"),
        ({"seconds": 0}, "seconds: 0 is not greater than 0$"),
        ({"on": "true"}, "on: 'true' is not of type 'boolean'$"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_the_caller(
    document: dict[str, object], said: str
) -> None:
    properties = {
        "name": {"type": "string", "pattern": r"^\w+\Z", json_schema.MEANING: "one word"},
        "on": {"type": "boolean"},
        "requires": {"type": "array"},
        "seconds": {"type": "number", "exclusiveMinimum": 0},
    }
    validator = json_schema.compiled({"properties": properties, "additionalProperties": False})
    with pytest.raises(InvalidInput, match=f"^{said}"):
        json_schema.check(validator, document)
