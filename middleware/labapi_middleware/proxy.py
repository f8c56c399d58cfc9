"""Decide once who the client is, for every filter after this one.

``[filter:proxy]``
    ``use = egg:labapi-middleware#proxy``

    ``trusted_proxies =``
        Addresses and networks of the proxies in front, separated by commas. None by default.
    ``header = X-Forwarded-For``
        Where these proxies write the client: ``X-Forwarded-For`` or ``Forwarded`` (RFC 7239). The
        other one is never believed.
    ``use_scheme = true``
        Believe ``X-Forwarded-Proto`` (or ``proto=``) of a trusted proxy: the API's links say https.
    ``use_host = false``
        Believe ``X-Forwarded-Host`` (or ``host=``) of a trusted proxy.

The client is the address that opened the connection (``REMOTE_ADDR``) or, if that is a trusted
proxy, the right-most address in the header that is not a trusted proxy. The search ends at an
element that is not an address, and the last good address counts. ``REMOTE_ADDR`` becomes the
client's address and ``labapi.peer_address`` keeps the connection's.

All headers in which proxies tell of a request (``X-Forwarded-*``, ``Forwarded``, ``X-Real-Ip``,
``True-Client-IP`` …) end here, so that nothing behind this filter can believe them by mistake. If
they came from an address that is not trusted, or made no sense, the environ has
``labapi.forwarded_unbelieved``: somebody else may be behind ``REMOTE_ADDR``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from labapi_middleware.addresses import Address, Networks, networks, parse_address
from labapi_middleware.contract import CLIENT
from labapi_middleware.environ import FORWARDED_UNBELIEVED, PEER_ADDRESS
from labapi_middleware.filter import Conf, Filter, Option, boolean, choice, factory
from labapi_middleware.forwarded import FORWARDED, Hop, hops_for, hops_forwarded, last_element

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

TRUSTED_PROXIES = Option(
    "trusted_proxies", "", networks, "Addresses and networks of the proxies in front."
)
HEADER = Option(
    "header",
    "X-Forwarded-For",
    choice("X-Forwarded-For", "Forwarded"),
    "Where these proxies write the client.",
)
USE_SCHEME = Option("use_scheme", "true", boolean, "Believe the scheme that they write.")
USE_HOST = Option("use_host", "false", boolean, "Believe the host that they write.")

_HOST = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)


class Proxy(Filter):
    """Replace ``REMOTE_ADDR`` by the client's address."""

    name = "proxy"
    options = (TRUSTED_PROXIES, HEADER, USE_SCHEME, USE_HOST)
    gives = CLIENT

    def __init__(self, app: WSGIApplication, conf: Conf) -> None:
        super().__init__(app, conf)
        self.trusted: Networks = conf[TRUSTED_PROXIES]
        self.header = conf[HEADER]
        self.use_scheme = conf[USE_SCHEME]
        self.use_host = conf[USE_HOST]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Find the client, and take away what would lead others astray."""
        environ[PEER_ADDRESS] = environ.get("REMOTE_ADDR")
        unbelieved = not environ.keys().isdisjoint(FORWARDED)
        peer = _parsed(environ.get("REMOTE_ADDR") or "")
        if peer is not None:
            client = peer
            if self.trusted and peer in self.trusted:
                client, unbelieved = self._resolve(environ, peer)
            environ["REMOTE_ADDR"] = str(client)
            if client is not peer:
                environ.pop("REMOTE_PORT", None)
                environ.pop("REMOTE_HOST", None)
        for key in environ.keys() & FORWARDED:
            del environ[key]
        if unbelieved:
            environ[FORWARDED_UNBELIEVED] = True
        return self.app(environ, start_response)

    def _resolve(self, environ: WSGIEnvironment, peer: Address) -> tuple[Address, bool]:
        """Read what a trusted proxy wrote.

        :returns: the client, and whether the header made no sense before that one was found
        """
        value = header(environ, self.header)
        read = hops_for if self.header == "X-Forwarded-For" else hops_forwarded
        hop, senseless = Hop(peer), False
        try:
            for hop in read(value):
                if hop.address not in self.trusted:
                    break
        except ValueError:
            senseless = True
        if self.header == "X-Forwarded-For":
            scheme = last_element(header(environ, "X-Forwarded-Proto"))
            host = last_element(header(environ, "X-Forwarded-Host"))
        else:
            scheme, host = hop.scheme or "", hop.host or ""
        if self.use_scheme and scheme.lower() in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme.lower()
        if self.use_host and _HOST.fullmatch(host):
            environ["HTTP_HOST"] = host
        return hop.address, senseless


def _parsed(address: str) -> Address | None:
    try:
        return parse_address(address)
    except ValueError:
        return None  # a UNIX socket


def header(environ: WSGIEnvironment, name: str) -> str:
    """Return a header by the name that proxies write, not by one that folds into the same key.

    ``X_Forwarded_For`` is ``HTTP_X_FORWARDED_FOR``, too, and a client that sends it past a proxy
    that leaves it alone would be the right-most. Where the server tells the names as they came
    (eventlet does), such a header does not count.
    """
    raw = environ.get("headers_raw")
    if raw is None:
        return str(environ.get("HTTP_" + name.upper().replace("-", "_"), ""))
    wanted = name.lower()
    return ",".join(value for key, value in raw if key.lower() == wanted)


filter_factory = factory(Proxy)
