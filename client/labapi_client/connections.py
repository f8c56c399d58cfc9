"""Connections to a lab: TLS, and the proxy that the environment wants."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3

from labapi_client.configuration import Way
from labapi_client.deadline import bind
from labapi_client.exceptions import BadConfiguration
from labapi_client.identity import basic

KEPT = 10  # connections that are kept open; more threads than these open some of their own
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def pool(way: Way, url: str) -> urllib3.PoolManager:
    """Return what keeps the connections of one lab.

    :param url: of its API
    :raises BadConfiguration: a file with certificates is not there
    """
    options: dict[str, Any] = {"maxsize": KEPT}
    if isinstance(way.verify, str):
        authorities = _there(way.verify)
        options["ca_cert_dir" if authorities.is_dir() else "ca_certs"] = way.verify
    elif not way.verify:
        options |= {"cert_reqs": "CERT_NONE", "assert_hostname": False}
    if way.cert is not None:
        options["cert_file"], options["key_file"] = way.cert
        _there(way.cert[0])
    through = _proxy(url)
    pools = _through(through, options) if through else urllib3.PoolManager(**options)
    bind(pools)
    return pools


def _through(proxy: str, options: dict[str, Any]) -> urllib3.PoolManager:
    """Return what goes through a proxy, which the environment may name as a host and a port."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    user, _, place = parts.netloc.rpartition("@")
    headers = {}
    if user:
        username, _, password = map(unquote, user.partition(":"))
        headers["Proxy-Authorization"] = basic(username, password).headers()["Authorization"]
    return urllib3.ProxyManager(f"{parts.scheme}://{place}", proxy_headers=headers, **options)


def _there(name: str) -> Path:
    path = Path(name)
    if not path.exists():
        raise BadConfiguration(f"there is no file {name} with certificates")
    return path


def _proxy(url: str) -> str | None:
    """Return the proxy that the environment wants for a URL (``https_proxy``, ``no_proxy``)."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    if parts.hostname in LOOPBACK or proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)
