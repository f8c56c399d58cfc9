"""Reading and writing JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from labapi.api.request import PIECE, json_object_stream


@pytest.mark.parametrize("size", [0, 1, 2, 5_000])
def test_a_large_object_comes_in_pieces_and_is_whole(size: int) -> None:
    items = {f"uuid-{number}": {"id": number, "text": ",{}" * 9} for number in range(size)}
    pieces = list(json_object_stream(iter(items.items())))
    assert json.loads(b"".join(pieces)) == items
    assert all(PIECE - 1 <= len(piece) < PIECE + 100 for piece in pieces[:-1])
    assert len(pieces) == 1 + sum(map(len, pieces)) // PIECE


def test_the_first_piece_is_there_before_the_last_item_is_asked_for() -> None:
    def items() -> Iterator[tuple[str, str]]:
        for number in range(10_000):
            asked.append(number)
            yield str(number), "x" * 50

    asked: list[int] = []
    next(iter(json_object_stream(items())))
    assert len(asked) < 1_000
