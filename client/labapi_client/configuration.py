"""Where the lab is and who asks: from arguments, or from the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from labapi_client.exceptions import BadConfiguration
from labapi_client.identity import Identity, basic, nobody, token

URL = "http://127.0.0.1:8774"
VERSION = "v2.1"


@dataclass(frozen=True)
class Given:
    """What the caller has said; None for what it has not."""

    url: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    cloud: str | None = None
    session: Any = field(default=None, repr=False)
    cacert: str | None = None
    region_name: str | None = None
    interface: str | None = None


@dataclass(frozen=True)
class Way:
    """The way to a lab.

    :ivar url: returns the URL of its API, without a slash at the end; it may ask Keystone
    :ivar verify: False believes every certificate; a text is a file with trusted authorities
    :ivar cert: files with the client's own certificate and its key
    """

    url: Callable[[], str]
    identity: Identity
    verify: bool | str = True
    cert: tuple[str, str | None] | None = None


def resolve(given: Given, env: Mapping[str, str] = os.environ) -> Way:
    """Return the way to the lab that is meant.

    :raises BadConfiguration: what is given does not fit together, or cannot be read
    """
    verify = given.cacert or env.get("LABAPI_CACERT") or True
    if given.session is not None or given.cloud is not None:
        return _keystone(given, env)
    named = given.url or env.get("LABAPI_URL")
    url = base(named or URL)
    if given.token is not None:
        return Way(lambda: url, token(given.token), verify)
    username, password = given.username, given.password
    if username is None and password is None and _meant(given, env):
        username, password = env.get("LABAPI_USERNAME"), env.get("LABAPI_PASSWORD")
    if username or password:
        return Way(lambda: url, _basic(username, password), verify)
    if not named and (env.get("OS_CLOUD") or env.get("OS_AUTH_URL")):
        return _keystone(given, env)
    return Way(lambda: url, nobody(), verify)


def base(url: str) -> str:
    """Return the URL of the API from the URL of a lab.

    :raises BadConfiguration: it is no URL that a request could be sent to
    """
    if "@" in url:
        raise BadConfiguration(
            "the URL of the lab holds a user or a password; give username and password beside it"
            " (LABAPI_USERNAME, LABAPI_PASSWORD)"
        )
    none = f"{url.partition('?')[0]!r} is not the URL of a lab; expected one such as {URL}"
    try:
        parts = urlsplit(url.strip())
        is_one = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port or an address that is none
        raise BadConfiguration(none) from None
    if not is_one or parts.query:
        raise BadConfiguration(none)
    root = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    return root if root.endswith(f"/{VERSION}") else f"{root}/{VERSION}"


def _basic(username: str | None, password: str | None) -> Identity:
    if not username or not password:
        there, missing = ("username", "password") if username else ("password", "username")
        raise BadConfiguration(
            f"there is a {there} but no {missing}; give both as arguments, or as"
            " LABAPI_USERNAME and LABAPI_PASSWORD"
        )
    return basic(username, password)


def _meant(given: Given, env: Mapping[str, str]) -> bool:
    """Say whether what the environment says of who asks is for this lab."""
    theirs = env.get("LABAPI_URL")
    return given.url is None or not theirs or base(given.url) == base(theirs)


def _keystone(given: Given, env: Mapping[str, str]) -> Way:
    from labapi_client import keystone

    return keystone.way(given, env)
