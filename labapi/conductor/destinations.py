"""Where webhooks may go: callers choose their URLs, and conductors reach what callers do not.

A name is resolved once, and the connection goes to an address that was looked at: a name that means
another address a moment later changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from labapi.exceptions import ConfigError, LabapiError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
# Behind carriers' NAT; a site's own NAT64 (RFC 8215).
_SHARED = tuple(map(ipaddress.ip_network, ("100.64.0.0/10", "64:ff9b:1::/48")))
# Networks of IPv6 whose last 32 bits are an address of IPv4: NAT64, SIIT, tunnels (::192.0.2.1).
_WITH_IPV4 = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "::ffff:0:0:0/96", "::/96")))


class NotSent(LabapiError):
    """A notice that could not be sent; the text says why.

    :ivar final: it is of no use to try again
    """

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


class Destinations:
    """Looks addresses up and opens connections to those that are allowed.

    :param options: the group ``[notify]``
    :raises ConfigError: ``allowed_networks`` has something that is no network
    """

    def __init__(self, options: Any) -> None:
        self._forbidden = frozenset(options.forbidden)
        try:
            self._allowed = [ipaddress.ip_network(text) for text in options.allowed_networks]
        except ValueError as error:
            raise ConfigError(f"[notify] allowed_networks: {error}") from None

    def connect(self, host: str, port: int, until: float) -> socket.socket:
        """Return a connection to a host, at the first of its addresses that can be reached.

        :param until: monotonic time by which it is there
        :raises NotSent: there is none in time, or no address of it is allowed
        """
        found = _resolved(host, port, until)
        allowed = [address for address in found if self._allows(address)]
        if not allowed:
            first = found[0]
            raise NotSent(f"{host}: its address is forbidden ({_kinds(first)})", final=True)
        for address in allowed:
            left = until - time.monotonic()
            try:
                return socket.create_connection((str(address), port), timeout=max(left, 0.001))
            except OSError as error:
                why = error.strerror or "no answer in time"
        raise NotSent(f"{host}:{port} cannot be reached: {why}")

    def _allows(self, address: Address) -> bool:
        if any(address in network for network in self._allowed):
            return True
        return all(
            not kind or kind not in (*self._forbidden, "no receiver")
            for kind in map(_kind, _meant(address))
        )


def _meant(address: Address) -> Iterator[Address]:
    """Yield an address, and those of IPv4 that it may lead to."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if any(address in network for network in _WITH_IPV4):
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        yield from filter(None, inner)


def _kind(address: Address) -> str:
    """Return the class of an address, empty for one that everybody can reach."""
    if address.is_loopback or address.is_unspecified or address in _THIS_NETWORK:
        return "loopback"
    if address.is_link_local:
        return "link_local"
    # What is mapped into IPv6 is judged by the address that it stands for.
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return ""
    if address.is_multicast or (address.version == 4 and address.is_reserved):
        return "no receiver"
    site = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    shared = any(address in network for network in _SHARED)
    return "private" if address.is_private or shared or site else ""


def _kinds(address: Address) -> str:
    return ", ".join(filter(None, map(_kind, _meant(address))))


def _resolved(host: str, port: int, until: float) -> list[Address]:
    """Return the addresses of a host, each once.

    The resolver has no timeout of its own that could be set: it is left to itself when it is late.
    """
    found: list[Address] = []
    failed: list[OSError | UnicodeError] = []

    def look() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            failed.append(error)
        else:
            found.extend(dict.fromkeys(ipaddress.ip_address(info[4][0]) for info in infos))

    thread = threading.Thread(target=look, name="resolve", daemon=True)
    thread.start()
    thread.join(max(0.0, until - time.monotonic()))
    if not found:
        why = getattr(failed[0], "strerror", None) or failed[0] if failed else "no answer in time"
        raise NotSent(f"{host}: its address cannot be found: {why}")
    return found
