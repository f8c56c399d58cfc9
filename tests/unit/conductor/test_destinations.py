from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import Any

import pytest

from labapi import config
from labapi.conductor.destinations import Destinations, NotSent
from labapi.exceptions import ConfigError


def destinations(**options: Any) -> Destinations:
    return Destinations(config.new(**{f"notify__{k}": v for k, v in options.items()}).notify)


def allows(address: str, **options: Any) -> bool:
    return destinations(**options)._allows(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12:3456::1",
        "fec0::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::7f00:1",
        "::ffff:0:127.0.0.1",
        "::ffff:0:10.0.0.1",
        "::127.0.0.1",
        "::10.0.0.1",
        "2002:7f00:1::1",
        "2002:a00:1::",
    ],
)
def test_what_callers_cannot_reach_is_forbidden(address: str) -> None:
    assert not allows(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_the_rest_is_not(address: str) -> None:
    assert allows(address)


def test_an_operator_decides() -> None:
    assert allows("10.0.0.1", forbidden=["loopback", "link_local"])
    assert allows("::ffff:10.0.0.1", forbidden=["loopback", "link_local"])
    assert not allows("127.0.0.1", forbidden=["loopback", "link_local"])
    assert allows("10.7.1.1", allowed_networks=["10.7.0.0/16"])
    assert not allows("10.8.1.1", allowed_networks=["10.7.0.0/16"])
    assert not allows("224.0.0.1", forbidden=[])


def test_a_network_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"\[notify\] allowed_networks: .*10\.7"):
        destinations(allowed_networks=["10.7.0.1/16"])


@pytest.fixture
def listener() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1"])
def test_however_an_address_is_written(listener: socket.socket, host: str) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(NotSent, match=r"its address is forbidden \(loopback\)") as caught:
        destinations().connect(host, port, time.monotonic() + 5)
    assert caught.value.final


def test_a_name_that_changes_is_resolved_once(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second answer of a server of names would lead to what is forbidden."""
    port, asked = listener.getsockname()[1], []

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> Any:
        asked.append(host)
        address = "127.0.0.2" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr("labapi.conductor.destinations.socket.getaddrinfo", getaddrinfo)
    connected: list[Any] = []

    def create_connection(address: Any, **_: Any) -> Any:
        connected.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("labapi.conductor.destinations.socket.create_connection", create_connection)
    open_to_two = destinations(allowed_networks=["127.0.0.2/32"])
    with pytest.raises(NotSent, match="Connection refused"):
        open_to_two.connect("rebind.example", port, time.monotonic() + 5)
    assert asked == ["rebind.example"]
    assert connected == [("127.0.0.2", port)]


def test_of_several_addresses_the_forbidden_ones_are_left_out(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = listener.getsockname()[1]
    infos = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
        for address in ("10.0.0.1", "127.0.0.1")
    ]
    monkeypatch.setattr("labapi.conductor.destinations.socket.getaddrinfo", lambda *_, **__: infos)
    own = destinations(allowed_networks=["127.0.0.0/8"])
    with own.connect("both.example", port, time.monotonic() + 5) as sock:
        assert sock.getpeername() == ("127.0.0.1", port)


def test_a_name_that_is_none() -> None:
    with pytest.raises(NotSent, match="cannot be found") as caught:
        destinations().connect("nobody.invalid", 80, time.monotonic() + 5)
    assert not caught.value.final


def test_a_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()
    monkeypatch.setattr(
        "labapi.conductor.destinations.socket.getaddrinfo", lambda *_, **__: [][hang.wait(30) :]
    )
    began = time.monotonic()
    with pytest.raises(NotSent, match="no answer in time"):
        destinations().connect("slow.example", 80, began + 0.2)
    assert time.monotonic() - began < 10
    hang.set()
