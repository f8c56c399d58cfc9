"""Who asks: what a request carries to say so."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Protocol


class Identity(Protocol):
    """Says who asks. Threads share it."""

    def headers(self) -> Mapping[str, str]:
        """Return what a request carries.

        :raises LabError: the identity cannot be had
        """

    def renew(self) -> bool:
        """Forget what the lab does not believe any more; say whether there may be something new."""


class Fixed:
    """Headers that stay as they are: a password, a token, or none.

    :param headers: what each request carries
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)

    def headers(self) -> Mapping[str, str]:
        """Return the headers."""
        return self._headers

    def renew(self) -> bool:
        """Return False: there is nothing else to say."""
        return False


def nobody() -> Fixed:
    """Return the identity of a client that does not say who it is."""
    return Fixed({})


def basic(username: str, password: str) -> Fixed:
    """Return an identity by HTTP's basic authentication, RFC 7617, in UTF-8."""
    credentials = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
    return Fixed({"Authorization": f"Basic {credentials}"})


def token(text: str) -> Fixed:
    """Return an identity by a token of Keystone that somebody else renews."""
    return Fixed({"X-Auth-Token": text})
