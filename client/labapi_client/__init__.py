"""The SDK of labapi: ``connect()`` returns a :class:`~labapi_client.lab.Lab`.

Nothing is imported here that a call does not need: a command line has to start fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from labapi_client.exchange import Exchange
    from labapi_client.lab import Lab

__all__ = ["connect"]

TIMEOUT = 60.0  # seconds that the lab may be silent in the middle of an answer
ANSWER_TIMEOUT = 600.0  # seconds that a whole answer may take, even if the lab is never silent


def connect(
    url: str | None = None,
    *,
    username: str | None = None,
    password: str | None = None,
    token: str | None = None,
    cloud: str | None = None,
    session: Any = None,
    timeout: float = TIMEOUT,
    answer_timeout: float = ANSWER_TIMEOUT,
    cacert: str | None = None,
    region_name: str | None = None,
    interface: str | None = None,
    debug: Callable[[Exchange], None] | None = None,
) -> Lab:
    """Return a lab; no request is sent yet.

    Who asks is the first of these that is given: ``session``, ``cloud``, ``token``, ``username``;
    then ``LABAPI_USERNAME`` and ``LABAPI_PASSWORD``; then, if neither ``url`` nor ``LABAPI_URL`` is
    there, ``OS_CLOUD`` or ``OS_AUTH_URL`` with the other ``OS_*``; else nobody. Where the lab is:
    ``url``, ``LABAPI_URL``, the service ``test-lab`` of Keystone's catalogue, or
    ``http://127.0.0.1:8774``. What the environment says of who asks goes to no other lab than the
    one that ``LABAPI_URL`` names, if it names one.

    :param url: of the lab, with or without ``/v2.1``
    :param username: for HTTP's basic authentication, with ``password``
    :param token: of Keystone, as it is; it is not renewed
    :param cloud: the name of a cloud in ``clouds.yaml``
    :param session: a session of keystoneauth1
    :param timeout: seconds that the lab may be silent in the middle of an answer
    :param answer_timeout: seconds that a whole answer may take, beyond those that the lab was asked
        to wait; output that is read as it comes takes as long as it takes
    :param cacert: file with the certificates of the authorities that are trusted; ``LABAPI_CACERT``
    :param region_name: in Keystone's catalogue
    :param interface: in Keystone's catalogue: ``public``, ``internal`` or ``admin``
    :param debug: is given each exchange with the lab, secrets masked
    :raises BadConfiguration: what is given does not fit together, or cannot be read
    """
    from labapi_client.configuration import Given, resolve
    from labapi_client.lab import Lab
    from labapi_client.transport import Transport

    given = Given(url, username, password, token, cloud, session, cacert, region_name, interface)
    way = resolve(given)
    return Lab(Transport(way, timeout=timeout, answer_timeout=answer_timeout, debug=debug))
