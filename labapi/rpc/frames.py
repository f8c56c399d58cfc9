"""AMQP frames from strangers, read so that none of them ends the connection.

py-amqp parses a message's properties before any of our code sees the message. What it cannot parse
(a timestamp of a far year, a thousand nested arrays, names that are not UTF-8) raises out of
``drain_events``; the connection is lost, the broker delivers the message again, and so on for ever.
A body of any size is gathered in memory, too. The frame handler here stands before py-amqp's own:
it takes such properties out, leaves a body that is too large in the socket, and marks the message,
so that the consumer can drop it like any other message that is not of the protocol.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from amqp import method_framing, spec
from amqp.serialization import decode_properties_basic
from kombu.transport import pyamqp

from labapi.rpc.messages import MAX_BYTES

MAX_PROPERTIES = 8192  # bytes of a message's properties, headers included; ours are below 500
UNREADABLE = "labapi-unreadable: "  # the content type of a marked message begins so

_NOT_READ = "its properties cannot be read"

_HEADER, _BODY = 2, 3  # types of frames
_START = struct.Struct(">HHQ")  # of a header frame: class, weight, size of the body
_DELIVERY = 9  # bytes between the consumer's tag and the exchange: delivery tag, redelivered

Callback = Callable[[int, tuple[int, int], bytes, Any], Any]
Frame = tuple[int, int, bytes]


def frame_handler(connection: Any, callback: Callback) -> Callable[[Frame], bool]:
    """Return what reads the frames of a connection; takes the place of py-amqp's.

    :param callback: gets each complete method with its content
    """
    complete = method_framing.frame_handler(connection, partial(_dispatch, callback))
    passing: dict[int, int] = {}  # channel → bytes of a body that are still to be passed over

    def on_frame(frame: Frame) -> bool:
        kind, channel, payload = frame
        if kind == _BODY and channel in passing:
            passing[channel] -= len(payload)
            if passing[channel] <= 0:
                del passing[channel]
            return False
        if kind != _HEADER:
            return bool(complete(frame))
        number, weight, size = _START.unpack_from(payload)
        if size > MAX_BYTES:
            passing[channel] = size
            start = _START.pack(number, weight, 0)
            payload = start + _mark(f"{size} bytes are more than {MAX_BYTES}")
        elif size > 0 and len(payload) <= MAX_PROPERTIES:
            # A body comes, so py-amqp does nothing yet but read the properties: once is enough.
            try:
                return bool(complete(frame))
            except Exception:  # noqa: BLE001 - struct.error, RecursionError, ValueError and more
                payload = payload[: _START.size] + _mark(_NOT_READ)
        elif not _readable(payload):
            payload = payload[: _START.size] + _mark(_NOT_READ)
        return bool(complete((kind, channel, payload)))

    return on_frame


class PlainMessage(pyamqp.Message):  # type: ignore[misc]
    """A message whose body stays as it came: kombu would decompress what says it is compressed."""

    def __init__(self, msg: Any, channel: Any = None, **more: Any) -> None:
        msg.properties.get("application_headers", {}).pop("compression", None)
        super().__init__(msg, channel=channel, **more)


def leave_bodies_alone(channel: Any) -> None:
    """Have py-amqp and kombu hand over the bodies of a channel as they came."""
    if not isinstance(channel, pyamqp.Channel):
        return  # the in-process broker, which nobody else can write to
    channel.auto_decode = False  # by the encoding that the sender names
    channel.Message = PlainMessage


def _readable(payload: bytes) -> bool:
    if len(payload) > MAX_PROPERTIES:
        return False
    try:
        decode_properties_basic(payload, _START.size)
    except Exception:  # noqa: BLE001 - struct.error, RecursionError, ValueError and more
        return False
    return True


def _mark(why: str) -> bytes:
    """Return properties that hold nothing but the content type of a marked message."""
    text = (UNREADABLE + why).encode()
    return struct.pack(">HB", 0x8000, len(text)) + text


def _dispatch(
    callback: Callback, channel: int, method: tuple[int, int], args: bytes, content: Any
) -> Any:
    try:
        return callback(channel, method, args, content)
    except UnicodeDecodeError:
        if method != spec.Basic.Deliver:
            raise
        content.properties = {"content_type": f"{UNREADABLE}its routing key is not UTF-8"}
        return callback(channel, method, _nameless(args), content)


def _nameless(args: bytes) -> bytes:
    """Return the arguments of a delivery with an empty exchange and an empty routing key."""
    end = 5 + args[4] + _DELIVERY  # class and method, length of the consumer's tag, the tag
    return bytes(args[:end]) + b"\0\0"
