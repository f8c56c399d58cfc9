"""Checking documents against schemas costs little, whatever the document."""

from __future__ import annotations

import time

import pytest

from labapi.api import schemas
from labapi.exceptions import InvalidInput

WORDS = {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize("words", [WORDS, {"anyOf": [{"type": "string"}, WORDS]}])
def test_very_many_errors_cost_no_more_than_a_few(words: dict[str, object]) -> None:
    validator = schemas.compiled({"type": "object", "properties": {"args": words}})
    began = time.thread_time()
    with pytest.raises(InvalidInput, match=r"^args\.\d+: 1 is not of type 'string'$"):
        schemas.check(validator, {"args": [1] * 500_000})
    assert time.thread_time() - began < 2
