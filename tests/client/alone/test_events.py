"""A stream of events, as a lab sends it or a stranger."""

from __future__ import annotations

import pytest

from labapi_client import exceptions
from labapi_client.output import Again, Beat, Early, End, Event, Piece, events, shown

STREAM = (
    b": still running\n\n"
    b'event: output\nid: 4\ndata: {"offset": 0, "text": "one\\n"}\n\n'
    b'event: output\nid: 6\ndata: {"offset": 5, "base64": "/w==", "missing": 1}\n\n'
    b'event: again\nid: 2:0\ndata: {"attempt": 2}\n\n'
    b'event: error\ndata: {"message": "away"}\n\n'
    b"event: of a later release\ndata: {}\n\n"
    b'event: end\ndata: {"state": "finished", "result": "PASS", "reason": null}\n\n'
    b"event: output\nid: 9\nda"
)
EVENTS: list[tuple[str | None, Event]] = [
    (None, Beat()),
    ("4", Piece(offset=0, data=b"one\n")),
    ("6", Piece(offset=5, data=b"\xff", missing=1)),
    ("2:0", Again(2)),
    (None, Early("away")),
    (None, Beat()),
    (None, End("finished", "PASS")),
]


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_events_come_in_pieces_of_any_size(size: int) -> None:
    pieces = (STREAM[at : at + size] for at in range(0, len(STREAM), size))
    assert list(events(pieces)) == EVENTS


def test_what_stands_in_a_text() -> None:
    assert b"".join(shown(event) for _, event in EVENTS) == (
        b"one\n\n[1 bytes of output are missing here]\n\xff"
        b"\n[the case runs again; its output begins anew]\n"
    )


@pytest.mark.parametrize(
    "block",
    [
        b"event: output\ndata: nonsense\n\n",
        b'event: output\ndata: {"offset": 0, "base64": "?"}\n\n',
        b'event: output\nid: 1\r\ndata: {"offset": 0}\n\n',
    ],
)
def test_what_is_no_event(block: bytes) -> None:
    with pytest.raises(exceptions.BadAnswer):
        list(events(iter([block])))


def test_an_event_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labapi_client.output.MAX_EVENT", 100)
    with pytest.raises(exceptions.BadAnswer, match="larger than 100 bytes"):
        list(events(iter([b"x" * 101])))
