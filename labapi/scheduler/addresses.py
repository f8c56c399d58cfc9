"""Addresses and networks, read as the filters of the pipeline read them.

The filters are a distribution of their own, which this one does not import; a test holds both
alike. IPv4-mapped IPv6 (RFC 4291, 2.5.5.2) is IPv4.
"""

from __future__ import annotations

import functools
import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# A list longer than this (characters) is not read, and so opens nothing.
MAX_LIST = 4096

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


@functools.lru_cache(maxsize=1024)
def parse_address(text: str) -> Address | None:
    """Return an address without its zone (``%eth0``), None if it cannot be read."""
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def parse_network(text: str) -> Network:
    """Return a network, or an address as the network of that address.

    :raises ValueError: this is neither
    """
    network = ipaddress.ip_network(text.strip())
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        address = network.network_address.ipv4_mapped
        return ipaddress.ip_network(f"{address}/{network.prefixlen - 96}")
    return network


@functools.lru_cache(maxsize=1024)
def read_list(text: str) -> tuple[Network, ...]:
    """Return what an allow-list opens: its readable items."""
    found: list[Network] = []
    for item in text.split(",") if len(text) <= MAX_LIST else ():
        try:
            found.append(parse_network(item))
        except ValueError:
            continue  # lets nobody in
    return tuple(found)
