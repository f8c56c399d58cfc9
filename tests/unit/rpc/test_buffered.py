"""Frames are cut out of what has come, wherever it breaks, with few calls of the socket."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest
import trustme
from amqp.exceptions import UnexpectedFrame

from labapi.rpc.buffered import _TCP, _TLS
from labapi.rpc.messages import Wake
from labapi.rpc.publisher import Envelope, Publisher
from labapi.rpc.transport import CONDUCTOR, Transport

FRAMES = [(1, 1, b"method"), (8, 0, b""), (3, 1, b"x" * 50_000), (1, 2, b"\xce" * 20)]
CALLS = 3.0  # of the socket for a message: it is sent, its confirm is waited for and read


def wire(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


class Green:
    """A socket that is not the kernel's own, as eventlet's."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def with_tls(ours: socket.socket, theirs: socket.socket) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Return both ends after the handshake."""
    issuer = trustme.CA()
    broker, client = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    issuer.issue_cert("localhost").configure_cert(broker)
    issuer.configure_trust(client)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(broker.wrap_socket, theirs, server_side=True)
        return client.wrap_socket(ours, server_hostname="localhost"), other.result(60)


@pytest.fixture(params=["plain", "green", "tls"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[Any, socket.socket]]:
    """Return a transport, and the broker's end of it."""
    ours, theirs = socket.socketpair()
    if request.param == "tls":
        ours, theirs = with_tls(ours, theirs)
    made = (_TLS if request.param == "tls" else _TCP)("127.0.0.1:1", write_timeout=5.0)
    made.sock = Green(ours) if request.param == "green" else ours
    made.connected = True
    yield made, theirs
    ours.close()
    theirs.close()


@pytest.mark.parametrize("piece", [1, 7, 8, 4096, 10**6])
def test_frames_come_in_pieces_of_any_size(ends: tuple[Any, socket.socket], piece: int) -> None:
    made, theirs = ends
    frames = FRAMES if piece > 8 else [FRAMES[0], FRAMES[1], FRAMES[3]]
    data = b"".join(wire(*frame) for frame in frames)

    def send() -> None:
        for start in range(0, len(data), piece):
            theirs.sendall(data[start : start + piece])

    sender = threading.Thread(target=send)
    sender.start()
    assert [made.next_frame(60) for _ in frames] == frames
    sender.join()
    assert not made.has_frame


def test_what_has_come_of_a_frame_is_kept(ends: tuple[Any, socket.socket]) -> None:
    made, theirs = ends
    whole = wire(*FRAMES[0]) + wire(*FRAMES[1])
    theirs.sendall(whole[:9])
    for timeout in (0, 0.05, 0):
        with pytest.raises(TimeoutError):
            made.next_frame(timeout)
    assert made.connected
    theirs.sendall(whole[9:])
    assert made.next_frame(60) == FRAMES[0]
    assert made.has_frame
    assert made.next_frame(0) == FRAMES[1]


def hand_out(made: Any, most: int = 1000) -> list[tuple[int, int, bytes]]:
    """Return what has come, until so many frames of it are there."""
    came: list[tuple[int, int, bytes]] = []

    def take(frame: tuple[int, int, bytes]) -> bool:
        came.append(frame)
        return True

    made.hand_out(take, lambda: len(came) == most)
    return came


def test_all_that_has_come_is_handed_out(ends: tuple[Any, socket.socket]) -> None:
    """Check that nothing of it is left where poll(2) does not see it, and that no more is read."""
    made, theirs = ends
    assert hand_out(made) == []
    many = [(1, 1, bytes([number]) * 100) for number in range(250)]  # more than is read at once
    theirs.sendall(b"".join(wire(*frame) for frame in many) + wire(*FRAMES[0])[:5])
    came: list[Any] = []
    while len(came) < len(many):
        assert select.select([made.sock], [], [], 10)[0]
        came += hand_out(made)
    assert came == many
    assert not select.select([made.sock], [], [], 0)[0]
    theirs.sendall(wire(*FRAMES[0])[5:])
    assert select.select([made.sock], [], [], 10)[0]
    assert hand_out(made) == FRAMES[:1]


def test_what_is_enough_leaves_the_rest(ends: tuple[Any, socket.socket]) -> None:
    made, theirs = ends
    theirs.sendall(b"".join(wire(1, 1, bytes([number])) for number in range(5)))
    assert select.select([made.sock], [], [], 10)[0]
    assert hand_out(made, 2) == [(1, 1, b"\0"), (1, 1, b"\1")]
    assert made.has_frame
    assert hand_out(made) == [(1, 1, bytes([number])) for number in (2, 3, 4)]
    assert not made.has_frame
    theirs.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OSError, match="closed connection"):
        hand_out(made)


def test_a_wait_has_one_end_however_slowly_bytes_come(ends: tuple[Any, socket.socket]) -> None:
    made, theirs = ends
    stop = threading.Event()

    def drip() -> None:
        theirs.sendall(struct.pack(">BHI", 1, 1, 10_000))
        while not stop.wait(0.02):
            theirs.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        made.next_frame(0.3)
    assert time.monotonic() - begun < 30
    stop.set()
    thread.join()


def test_a_connection_that_is_closed_is_lost(ends: tuple[Any, socket.socket]) -> None:
    made, theirs = ends
    theirs.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OSError, match="closed connection"):
        made.next_frame(60)
    assert not made.connected


def test_bytes_that_are_no_frame(ends: tuple[Any, socket.socket]) -> None:
    made, theirs = ends
    theirs.sendall(wire(1, 1, b"abc")[:-1] + b"\0")
    with pytest.raises(UnexpectedFrame):
        made.next_frame(60)


def test_a_message_costs_few_calls_of_the_socket(transport: Transport) -> None:
    """Check the budget of a message: each call is a system call, or more."""
    if transport.in_process:
        pytest.skip("it has no socket")
    publisher = Publisher(transport)
    batch = [Envelope(Wake(given=["case"]), CONDUCTOR)]
    publisher.publish(batch)
    calls: list[str] = []

    def note(_frame: FrameType, event: str, called: Any) -> None:
        owner = getattr(called, "__self__", None)
        if event == "c_call" and isinstance(owner, socket.SocketType | type(select.poll())):
            calls.append(called.__name__)

    count = 20
    sys.setprofile(note)
    try:
        for _ in range(count):
            publisher.publish(batch)
    finally:
        sys.setprofile(None)
        publisher.close()
    calls = [name for name in calls if name not in ("register", "fileno", "gettimeout")]
    assert len(calls) / count <= CALLS + 0.5, calls[-8:]
