"""Whether an address belongs to this machine.

An address is our own when a socket can be bound to it: that covers what the machine's interfaces
have at this moment, also a service address that moves between machines.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable

from labapi_middleware.addresses import Address

TTL = 30.0
MAX_ENTRIES = 1024

# Documentation addresses (RFC 5737, RFC 3849) are nobody's. A machine that lets a socket bind to
# one of them (sysctl ip_nonlocal_bind, usual beside keepalived) would call every address its own.
_NOBODYS: dict[int, Address] = {
    4: ipaddress.IPv4Address("192.0.2.1"),
    6: ipaddress.IPv6Address("2001:db8::1"),
}
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def can_bind(address: Address) -> bool:
    """Say whether this machine lets a socket be bound to the address, on a port it chooses."""
    try:
        with socket.socket(_FAMILY[address.version], socket.SOCK_STREAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


class OwnAddresses:
    """The addresses of this machine, loopback included; answers are remembered.

    :param ttl: seconds that an answer is kept
    :param clock: monotonic seconds
    :param bindable: asks the operating system
    """

    def __init__(
        self,
        ttl: float = TTL,
        clock: Callable[[], float] = time.monotonic,
        bindable: Callable[[Address], bool] = can_bind,
    ) -> None:
        self._ttl = ttl
        self._clock = clock
        self._bindable = bindable
        self._known: dict[Address, tuple[float, bool]] = {}

    def __contains__(self, address: Address) -> bool:
        """Say whether the address is one of this machine's."""
        if address.is_loopback:
            return True
        now = self._clock()
        until, own = self._known.get(address, (now, False))
        if until > now:
            return own
        if len(self._known) >= MAX_ENTRIES:  # a client can have very many addresses
            self._known.clear()
        own = self._ask(address)
        self._known[address] = (now + self._ttl, own)
        return own

    def _ask(self, address: Address) -> bool:
        # A socket can also be bound to "any" and to groups, which are nobody's address.
        if address.is_unspecified or address.is_multicast:
            return False
        return self._bindable(address) and not self._bindable(_NOBODYS[address.version])
