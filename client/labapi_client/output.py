"""The output of a case, read so that a broken connection loses and repeats nothing.

It is read as server-sent events, which carry the offset of what they bring: the next connection
goes on after the last event that arrived whole.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import msgspec

from labapi_client.exceptions import BadAnswer

FINISHED = "finished"
MAX_EVENT = 1024 * 1024  # bytes of one event; the lab's have a few thousand


class Piece(msgspec.Struct, kw_only=True, frozen=True):
    """Bytes that a case wrote.

    :ivar offset: of the first one
    :ivar missing: how many bytes before it are missing
    """

    offset: int
    data: bytes
    missing: int = 0


class Again(msgspec.Struct, frozen=True):
    """The case runs again, and its output begins anew.

    :ivar attempt: its number
    """

    attempt: int


class End(msgspec.Struct, frozen=True):
    """There is no more.

    :ivar state: of the case; if it is not ``finished``, this is only what there is so far
    """

    state: str
    result: str | None = None
    reason: str | None = None


class Early(msgspec.Struct, frozen=True):
    """The lab ends the stream before its time; it can be resumed."""

    message: str


class Beat(msgspec.Struct, frozen=True):
    """The lab shows that it is there."""


Event = Piece | Again | End | Early | Beat


class _Output(msgspec.Struct):
    offset: int
    text: str = ""
    base64: str | None = None
    missing: int = 0


def events(stream: Iterator[bytes]) -> Iterator[tuple[str | None, Event]]:
    """Yield the events of a stream, each with its id: ``Last-Event-ID`` resumes after it.

    An event that has not arrived whole is none. After the HTML standard, 9.2.6, as far as the
    lab makes use of it.

    :raises BadAnswer: this is no such stream
    """
    buffer = bytearray()
    for piece in stream:
        seen = max(0, len(buffer) - 1)
        buffer += piece
        while (at := buffer.find(b"\n\n", seen)) >= 0:
            block = bytes(buffer[:at])
            del buffer[: at + 2]
            seen = 0
            yield _event(block)
        if len(buffer) > MAX_EVENT:
            raise BadAnswer(f"an event of the output is larger than {MAX_EVENT} bytes")


def _event(block: bytes) -> tuple[str | None, Event]:
    fields: dict[bytes, bytes] = {}
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        fields[name] = value.removeprefix(b" ")
    decode = _KINDS.get(fields.get(b"event", b""))
    if decode is None:
        return None, Beat()
    try:
        event: Any = msgspec.json.decode(fields.get(b"data", b""), type=decode)
        place = fields[b"id"].decode("ascii") if b"id" in fields else None
        found = _piece(event) if isinstance(event, _Output) else event
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadAnswer(f"an event of the output cannot be read: {error}") from None
    if not (place or "").isprintable():  # it is sent back in a header
        raise BadAnswer("an event of the output cannot be read: its id is not one line")
    return place, found


_KINDS: dict[bytes, type] = {b"output": _Output, b"again": Again, b"end": End, b"error": Early}


def _piece(event: _Output) -> Piece:
    data = (
        event.text.encode()
        if event.base64 is None
        else base64.b64decode(event.base64, validate=True)
    )
    return Piece(offset=event.offset, data=data, missing=event.missing)


def shown(event: Event) -> bytes:
    """Return an event as it stands in the text that the lab gives: what is missing is marked."""
    if isinstance(event, Piece):
        gap = b"\n[%d bytes of output are missing here]\n" % event.missing if event.missing else b""
        return gap + event.data
    if isinstance(event, Again):
        return b"\n[the case runs again; its output begins anew]\n"
    return b""
