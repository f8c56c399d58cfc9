"""This machine's own addresses: asked of the operating system, and what it says too much."""

from __future__ import annotations

import pytest

from labapi_middleware.addresses import Address, parse_address
from labapi_middleware.own_addresses import MAX_ENTRIES, OwnAddresses, can_bind


class Machine:
    """Stands for the operating system: binds to some addresses and counts the questions."""

    def __init__(self, *own: str, nonlocal_bind: bool = False) -> None:
        self.own = {parse_address(address) for address in own}
        self.nonlocal_bind = nonlocal_bind
        self.asked = 0

    def __call__(self, address: Address) -> bool:
        self.asked += 1
        return self.nonlocal_bind or address in self.own


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1"])
def test_loopback_is_ours(address: str) -> None:
    assert parse_address(address) in OwnAddresses()


@pytest.mark.parametrize("address", ["192.0.2.7", "198.51.100.12", "2001:db8::7", "8.8.8.8"])
def test_an_address_elsewhere_is_not_ours(address: str) -> None:
    assert parse_address(address) not in OwnAddresses()


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.1", "ff02::1"])
def test_what_a_socket_can_be_bound_to_but_is_nobodys(address: str) -> None:
    everything = OwnAddresses(bindable=lambda _: True)
    assert parse_address(address) not in everything
    assert parse_address(address) not in OwnAddresses()


def test_an_interface_address_is_ours_and_can_come_and_go() -> None:
    now = [0.0]
    machine = Machine("10.0.0.5")
    own = OwnAddresses(ttl=30, clock=lambda: now[0], bindable=machine)
    service = parse_address("10.0.0.9")
    assert parse_address("10.0.0.5") in own
    assert service not in own
    machine.own.add(service)
    now[0] = 29.0
    assert service not in own
    now[0] = 30.0
    assert service in own


def test_a_machine_that_binds_to_anything_owns_loopback_only() -> None:
    own = OwnAddresses(bindable=Machine("10.0.0.5", nonlocal_bind=True))
    assert parse_address("10.0.0.5") not in own
    assert parse_address("203.0.113.4") not in own
    assert parse_address("127.0.0.1") in own


def test_answers_are_remembered_and_bounded() -> None:
    machine = Machine()
    own = OwnAddresses(bindable=machine)
    client = parse_address("10.0.0.5")
    for _ in range(3):
        assert client not in own
    assert machine.asked == 1
    for number in range(3 * MAX_ENTRIES):
        assert parse_address(f"10.{number >> 8}.{number & 255}.1") not in own
    assert len(own._known) <= MAX_ENTRIES


def test_the_operating_system_is_asked() -> None:
    assert can_bind(parse_address("127.0.0.3"))
    assert not can_bind(parse_address("192.0.2.7"))
