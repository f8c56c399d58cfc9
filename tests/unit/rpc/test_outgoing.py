"""What is written is what py-amqp reads, and a batch is written at once."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from amqp import spec
from amqp.exceptions import RecoverableConnectionError
from amqp.method_framing import frame_handler
from amqp.serialization import loads
from hypothesis import given
from hypothesis import strategies as st

from labapi.rpc import outgoing
from labapi.rpc.outgoing import AT_ONCE, PERSISTENT, TRANSIENT, Outgoing

_HEAD = struct.Struct(">BHI")
_NAME = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
_MESSAGES = st.builds(
    Outgoing,
    body=st.binary(max_size=300),
    exchange=_NAME,
    routing_key=_NAME,
    headers=st.dictionaries(_NAME, st.text(st.characters(exclude_categories=("Cs",)))),
    mode=st.sampled_from([TRANSIENT, PERSISTENT]),
    expires=st.none() | st.floats(0, 10**6),
    mandatory=st.booleans(),
    id=st.integers(0, 10**9).map(str),
)


def message(**values: Any) -> Outgoing:
    given = {"body": b"{}", "exchange": "labapi", "routing_key": "agent.h", "headers": {}}
    more = {"mode": TRANSIENT, "expires": None, "mandatory": False, "id": "0"}
    return Outgoing(**{**given, **more, **values})


def cut(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Return the frames of what was written."""
    while data:
        kind, channel, size = _HEAD.unpack_from(data)
        payload, data = data[_HEAD.size : _HEAD.size + size], data[_HEAD.size + size :]
        assert data[0] == 0xCE
        data = data[1:]
        yield kind, channel, payload


def read(data: bytes, channel: int) -> list[tuple[Any, Any]]:
    """Return what py-amqp reads: arguments of a method, and its content."""
    found = []

    def note(number: int, method: Any, args: bytes, content: Any) -> None:
        assert (number, method) == (channel, spec.Basic.Publish)
        found.append((loads("Bssbb", args, 4)[0], content))

    # py-amqp expects this method to come without content: it only sends it.
    handle = frame_handler(SimpleNamespace(bytes_recv=0), note, content_methods={(60, 40)})
    for frame in cut(data):
        handle(frame)
    return found


@given(sent=_MESSAGES, channel=st.integers(1, 65535), largest=st.sampled_from([16, 4096, 131072]))
def test_it_is_read_as_it_was_meant(sent: Outgoing, channel: int, largest: int) -> None:
    data = bytes(outgoing.frames(sent, channel, largest))
    assert all(len(payload) + 8 <= largest for kind, _, payload in cut(data) if kind == 3)
    ((args, content),) = read(data, channel)
    mandatory, immediate = sent.mandatory, False
    assert args == [0, sent.exchange, sent.routing_key, mandatory, immediate]
    properties = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": sent.mode,
        "message_id": sent.id,
    }
    if sent.headers:
        properties["application_headers"] = dict(sent.headers)
    if sent.expires is not None:
        properties["expiration"] = str(int(sent.expires * 1000))
    assert (content.body or b"", content.properties) == (sent.body, properties)


@pytest.mark.parametrize("name", ["routing_key", "exchange", "id"])
def test_a_name_that_is_too_long_is_refused(name: str) -> None:
    outgoing.frames(message(**{name: "x" * 255}), 1, 4096)
    with pytest.raises(ValueError, match="range"):
        outgoing.frames(message(**{name: "x" * 256}), 1, 4096)


class Channel:
    """Stands for py-amqp's; keeps what is written."""

    def __init__(self) -> None:
        self.channel_id = 1
        self.written: list[bytes] = []
        self.connection: Any = SimpleNamespace(transport=self, frame_max=4096, bytes_sent=0)

    def having_timeout(self, _seconds: float) -> Any:
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.written.append(data)


def test_a_batch_is_written_at_once() -> None:
    channel = Channel()
    batch = [message(routing_key=f"agent.{number}") for number in range(100)]
    outgoing.write(channel, batch, 1.0)
    (data,) = channel.written
    assert [args[2] for args, _ in read(data, 1)] == [one.routing_key for one in batch]
    assert channel.connection.bytes_sent == 1


def test_a_large_batch_is_written_in_pieces() -> None:
    channel = Channel()
    batch = [message(body=b"x" * (AT_ONCE // 2)) for _ in range(5)]
    outgoing.write(channel, batch, 1.0)
    assert [len(data) >= AT_ONCE for data in channel.written] == [True, True, False]
    assert len(read(b"".join(channel.written), 1)) == 5


def test_a_connection_that_is_closed_or_stuck() -> None:
    channel = Channel()

    def stuck(_data: bytes) -> None:
        raise TimeoutError

    channel.write = stuck  # type: ignore[method-assign]
    with pytest.raises(RecoverableConnectionError, match="does not read"):
        outgoing.write(channel, [message()], 1.0)
    channel.connection = None
    with pytest.raises(RecoverableConnectionError, match="closed"):
        outgoing.write(channel, [message()], 1.0)


def test_messages_are_acknowledged_together() -> None:
    channel = Channel()
    outgoing.acknowledge(channel, 2**40)
    ((kind, number, payload),) = cut(b"".join(channel.written))
    assert (kind, number) == (1, 1)
    assert struct.unpack_from(">HH", payload) == spec.Basic.Ack
    (tag, multiple), _ = loads("Lb", payload, 4)
    assert (tag, multiple) == (2**40, True)
    assert channel.connection.bytes_sent == 1
    channel.connection = None
    with pytest.raises(RecoverableConnectionError, match="closed"):
        outgoing.acknowledge(channel, 1)
