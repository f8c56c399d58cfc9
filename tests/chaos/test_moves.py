"""What chaos says of moves that should not have been made, and of those that may be."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.chaos.moves import Replay

LATE = 301


def case(
    number: int, state: str = "running", host: str | None = "a", **more: Any
) -> dict[str, Any]:
    usual = {"project": "lab", "placed": 0, "waited": 0.0, "attempt": f"{number}-{number}"}
    return {"kind": "case", "number": number, "state": state, "host": host, **usual, **more}


def lease(number: int, state: str = "active", project: str = "lab") -> dict[str, Any]:
    found = {"kind": "lease", "number": number, "state": state, "project": project}
    return {**found, "host": '["a"]'}


def held(number: int | None, project: str | None = "lab") -> dict[str, Any]:
    return {"kind": "held", "number": number, "host": "a", "project": project}


FULL = [case(1), case(2)]
LEASED = [held(7), lease(7)]


def problems(moves: list[dict[str, Any]]) -> list[str]:
    replay = Replay(slots=2, ahead=1, patience=300.0)
    replay.play({"id": n, **move} for n, move in zip(itertools.count(), moves, strict=False))
    return replay.problems


@pytest.mark.parametrize(
    "moves",
    [
        [*FULL, case(3)],
        [*FULL, case(3), case(3, "cancelling")],
        [*FULL, case(2, "finished"), case(3, placed=1)],
        [*FULL, case(3, placed=1, waited=LATE)],
        [case(1), case(2, attempt="both-2"), case(3, placed=1, attempt="both-3")],
        [*FULL, case(1, "queued", None), case(2, "finished"), *LEASED, case(3)],
        [case(1), *LEASED, case(2)],
        [*LEASED, lease(7, "ended"), held(None, None), case(1, project="guest")],
        [*LEASED, lease(7, "ended"), held(None, None), held(8, "guest"), lease(8, project="guest")],
    ],
)
def test_good_moves(moves: list[dict[str, Any]]) -> None:
    assert problems(moves) == []


@pytest.mark.parametrize(
    ("moves", "says"),
    [
        ([*FULL, case(3), case(4)], "a case that makes 4 on a"),
        ([*FULL, case(3, placed=1)], "a case that makes 3 on a"),
        (
            [case(1), case(2, placed=1, attempt="both-2"), case(3, placed=1, attempt="both-3")],
            "a case that makes 3 on a",
        ),
        ([held(7), case(1, project="guest")], "it is given a, which lease 7 of lab holds"),
        ([*LEASED, case(1, project="guest")], "it is given a, which lease 7 of lab holds"),
        ([case(1, project="guest"), *LEASED], "it begins while cases [1] of others run on a"),
        ([*LEASED, held(8)], "a is taken from lease 7"),
        ([*LEASED, held(None, None), held(8), lease(8)], "a is leased by 7, too"),
        ([lease(7)], "it begins and does not hold a"),
    ],
)
def test_bad_moves(moves: list[dict[str, Any]], says: str) -> None:
    (problem,) = problems(moves)
    assert says in problem
