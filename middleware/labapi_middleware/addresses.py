"""IP addresses and networks as filters see them: from a socket, a header, an option, metadata.

An IPv4 client of an IPv6 listener shows as ``::ffff:a.b.c.d``; addresses and networks of that form
are IPv4 here, so that one rule covers both (RFC 4291, 2.5.5.2).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from labapi_middleware.filter import comma_list

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def parse_address(value: str) -> Address:
    """Read one address, IPv4-mapped IPv6 as IPv4, an IPv6 zone (``%eth0``) dropped.

    :raises ValueError: this is not an address
    """
    return _parsed(value.strip().partition("%")[0])


@lru_cache(maxsize=1024)
def _parsed(value: str) -> Address:
    address = ipaddress.ip_address(value)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_network(value: str) -> Network:
    """Read one network (``10.0.0.0/8``) or one address as the network of that address.

    :raises ValueError: this is neither, or it is an address with a prefix that leaves host bits
    """
    try:
        network = ipaddress.ip_network(value.strip())
    except ValueError as error:
        problem = f"{value!r} is not an address or network ({error})"
        raise ValueError(f"{problem}{_meant(value)}") from None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        address = network.network_address.ipv4_mapped
        return ipaddress.ip_network(f"{address}/{network.prefixlen - 96}")
    return network


def _meant(value: str) -> str:
    """Return what may be meant by a network whose address has bits behind its prefix."""
    try:
        network = ipaddress.ip_network(value.strip(), strict=False)
    except ValueError:
        return ""
    return f"; did you mean '{network}'?"


def split_port(value: str) -> tuple[str, str]:
    """Split ``host:port`` or ``[v6]:port`` into host and port; no port is an empty one.

    The parts are not checked; ``::1`` without brackets is a host.
    """
    value = value.strip()
    if value.startswith("["):
        host, _, rest = value[1:].partition("]")
        return host, rest.removeprefix(":")
    host, colon, port = value.rpartition(":")
    if not colon or ":" in host:
        return value, ""
    return host, port


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine and only this machine: an address or ``localhost``."""
    if host.lower() == "localhost":
        return True
    try:
        return parse_address(host).is_loopback
    except ValueError:
        return False


class Networks:
    """A set of networks that an address is in or not.

    :param networks: as :func:`parse_network` returns them
    """

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._by_version: dict[int, tuple[Network, ...]] = {4: (), 6: ()}
        for network in dict.fromkeys(networks):
            self._by_version[network.version] += (network,)

    def __contains__(self, address: Address) -> bool:
        """Say whether the address is in one of the networks."""
        return any(address in network for network in self._by_version[address.version])

    def __bool__(self) -> bool:
        """Say whether there is any network at all."""
        return any(self._by_version.values())

    def __repr__(self) -> str:
        return ", ".join(str(n) for version in (4, 6) for n in self._by_version[version])


def networks(value: str) -> Networks:
    """Read an option's comma-separated list of addresses and networks."""
    return Networks(parse_network(item) for item in comma_list(value))
