"""What an error of the domain is over HTTP."""

from __future__ import annotations

from labapi.api import faults
from labapi.context import REQUEST_ID
from labapi.exceptions import InvalidInput


def test_all_that_is_wrong_is_told_at_once() -> None:
    wrong = ["testplan/1: expected an object", "name: expected a text"]
    answer = faults.response(InvalidInput("2 values cannot be used", wrong), {REQUEST_ID: "req-1"})
    assert answer is not None
    assert answer.json["badRequest"] == {
        "code": 400,
        "message": "2 values cannot be used",
        "errors": wrong,
        "request_id": "req-1",
    }


def test_one_thing_that_is_wrong_has_no_list() -> None:
    answer = faults.response(InvalidInput("name: expected a text"), {})
    assert answer is not None
    assert set(answer.json["badRequest"]) == {"code", "message"}
