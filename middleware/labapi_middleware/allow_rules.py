"""Who may reach what: the rules behind ``ip_whitelist``, without HTTP.

A *list* is the value of a metadata key that starts with the prefix: one address or network, or
several with commas between. What has at least one such key is reachable from the addresses in its
lists only. An item that is neither an address nor a network lets nobody in, and its list restricts
all the same: a typing error can close something, but never open it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

from labapi_middleware.addresses import Address, Network, Networks, parse_address, parse_network
from labapi_middleware.filter import comma_list
from labapi_middleware.forwarded import is_direct
from labapi_middleware.log_text import printable
from labapi_middleware.own_addresses import OwnAddresses

# A list longer than this (characters) is not read, and so opens nothing.
MAX_LIST = 4096
# Read lists are remembered by their text; so many different ones.
MAX_REMEMBERED = 1024


def problem(value: str) -> str | None:
    """Say what is wrong with a list that is being set; None: nothing.

    An empty list is valid: it lets nobody in.
    """
    if len(value) > MAX_LIST:
        return f"an allow list has at most {MAX_LIST} characters"
    for item in comma_list(value):
        try:
            parse_network(item)
        except ValueError as error:
            return f"{error}; expected addresses or networks with commas between"
    return None


@functools.lru_cache(MAX_REMEMBERED)
def read_list(value: str) -> Networks:
    """Return what a list opens: its readable items."""
    found: list[Network] = []
    for item in comma_list(value) if len(value) <= MAX_LIST else ():
        try:
            found.append(parse_network(item))
        except ValueError:
            continue  # lets nobody in; problem() has said so when the list was set
    return Networks(found)


class Client(NamedTuple):
    """The client of a request.

    :ivar text: the address as the server or the ``proxy`` filter wrote it, empty if unknown
    :ivar address: the same, or None if it cannot be read
    :ivar direct: nothing says that somebody else is behind this address
    """

    text: str
    address: Address | None
    direct: bool


def client_of(environ: Mapping[str, Any]) -> Client:
    """Return the client of a request, from ``REMOTE_ADDR``."""
    text: str = environ.get("REMOTE_ADDR") or ""
    try:
        address: Address | None = parse_address(text)
    except ValueError:
        address = None
    return Client(text, address, is_direct(environ))


class Access(TypedDict):
    """What tells later whether a client may reach what has some metadata: it is plain JSON.

    It may reach it if ``everywhere`` is true; or if no key of the metadata starts with ``prefix``
    (upper or lower case) and ``closed_by_default`` is false; or if ``address`` is in one of the
    lists that those keys have as values.

    :ivar address: of the client, as :func:`parse_address` reads it; None if it is not known
    """

    address: str | None
    everywhere: bool
    prefix: str
    closed_by_default: bool


class Rules:
    """The rules of one filter: lists from its options, and from metadata that it is shown.

    :param allow: the only networks that may come in at all; None: all may
    :param operators: networks that are allowed everywhere, whatever the other lists say
    :param own: this machine's addresses, allowed everywhere if nobody else is behind them; None:
        they are nothing special
    :param prefix: what the metadata keys of lists start with, upper or lower case
    :param closed_by_default: metadata without any list let nobody in
    """

    def __init__(
        self,
        allow: Networks | None = None,
        operators: Networks | None = None,
        own: OwnAddresses | None = None,
        prefix: str = "allow",
        *,
        closed_by_default: bool = False,
    ) -> None:
        self._allow = allow
        self._operators = operators
        self._own = own
        self.prefix = prefix.lower()
        self._closed_by_default = closed_by_default

    def is_list(self, key: str) -> bool:
        """Say whether the metadata key is that of a list."""
        return key.lower().startswith(self.prefix)

    def problem(self, key: str, value: str) -> str | None:
        """Say what is wrong with a metadata value that is being set; None: nothing."""
        return problem(value) if self.is_list(key) else None

    def outside(self, client: Client) -> str | None:
        """Say why a client may not come in at all; None: it may."""
        if self._allow is None:
            return None
        if client.address is None:
            return "the client's address is not known"
        if client.address in self._allow or self._everywhere(client):
            return None
        return "not in the option 'allow'"

    def denied(self, client: Client, metadata: Mapping[str, str]) -> str | None:
        """Say why a client may not reach what has these metadata, for the log; None: it may.

        :param metadata: of what is addressed, all of it
        """
        lists = [key for key in metadata if self.is_list(key)]
        if not lists and not self._closed_by_default:
            return None
        address = client.address
        if address is None:
            return "the client's address is not known"
        if any(address in read_list(metadata[key]) for key in lists) or self._everywhere(client):
            return None
        if not lists:
            return f"no metadata that start with {self.prefix!r}, which is closed by default"
        return f"not in {', '.join(printable(key) for key in sorted(lists))}"

    def access(self, client: Client) -> Access:
        """Return what tells later whether a client may reach something, without these rules."""
        return {
            "address": None if client.address is None else str(client.address),
            "everywhere": self._everywhere(client),
            "prefix": self.prefix,
            "closed_by_default": self._closed_by_default,
        }

    def _everywhere(self, client: Client) -> bool:
        address = client.address
        if address is None:
            return False
        if self._operators is not None and address in self._operators:
            return True
        return self._own is not None and client.direct and address in self._own
