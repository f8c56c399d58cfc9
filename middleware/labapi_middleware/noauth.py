"""Let everybody on this machine in, as one user: for development and the first steps.

``[filter:noauth]``
    ``use = egg:labapi-middleware#noauth``

    ``user_id = noauth``
        Id and name of the user that every request comes from.
    ``project_id = noauth``
        Id and name of the user's project.
    ``roles = admin, member, reader``
        The user's roles.
    ``insecure_allow_remote = false``
        Let everybody in, from everywhere. Whoever reaches the port is administrator.

The server does not start when it listens on an address that others can reach (``listen`` in the
global configuration; not every server tells). A request from elsewhere gets a 403 fault, and so
does one that comes through a proxy on this machine or from a web page that a browser on this
machine shows. Identity headers and credentials in the request are dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from labapi_middleware import faults, identity
from labapi_middleware.addresses import is_loopback, split_port
from labapi_middleware.contract import CLIENT, IDENTITY, Need
from labapi_middleware.filter import (
    Conf,
    Filter,
    Option,
    OptionError,
    boolean,
    comma_list,
    factory,
    text,
)
from labapi_middleware.forwarded import is_direct
from labapi_middleware.log_text import request_line

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)

USER_ID = Option("user_id", "noauth", text, "Id and name of the user of every request.")
PROJECT_ID = Option("project_id", "noauth", text, "Id and name of the user's project.")
ROLES = Option("roles", "admin, member, reader", comma_list, "The user's roles.")
INSECURE_ALLOW_REMOTE = Option(
    "insecure_allow_remote",
    "false",
    boolean,
    "Let everybody in, from everywhere. Whoever reaches the port is administrator.",
)


class NoAuth(Filter):
    """Confirm one configured identity for every request from this machine."""

    name = "noauth"
    options = (USER_ID, PROJECT_ID, ROLES, INSECURE_ALLOW_REMOTE)
    gives = IDENTITY

    def __init__(self, app: WSGIApplication, conf: Conf) -> None:
        super().__init__(app, conf)
        self.user_id = conf[USER_ID]
        self.project_id = conf[PROJECT_ID] or None
        self.roles = conf[ROLES]
        self.allow_remote = conf[INSECURE_ALLOW_REMOTE]
        if self.allow_remote:
            LOG.warning(
                "filter noauth lets everybody in from everywhere (insecure_allow_remote = true)"
            )

    @classmethod
    def check(cls, conf: Conf) -> None:
        """Check that others cannot reach the API, unless the options say that they may."""
        if not conf[USER_ID]:
            raise OptionError(cls.name, USER_ID.name, "expected a name")
        listen = conf.written.get("listen")
        if listen is None or conf[INSECURE_ALLOW_REMOTE]:
            return
        if not is_loopback(split_port(listen)[0]):
            raise OptionError(
                cls.name,
                INSECURE_ALLOW_REMOTE.name,
                f"the API listens on {listen}, where others reach it without authentication; "
                "listen on 127.0.0.1, or use another authentication (basic, keystone), or set "
                "insecure_allow_remote = true if everybody may be administrator",
            )

    @classmethod
    def needs(cls, conf: Conf) -> tuple[Need, ...]:
        """Ask for the client's address, not that of a proxy."""
        return (Need(CLIENT, required=False),)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Set the identity, or say why not."""
        if not self.allow_remote and (why := _not_local(environ)):
            LOG.warning("%s denied: %s", request_line(environ), why)
            return faults.respond(
                environ, start_response, 403, f"There is no authentication here, and {why}."
            )
        identity.confirm(environ, self.name, self.user_id, self.project_id, self.roles)
        return self.app(environ, start_response)


def _not_local(environ: WSGIEnvironment) -> str | None:
    """Return why a request may come from elsewhere, None if it comes from this machine."""
    if not _is_loopback(environ.get("REMOTE_ADDR") or ""):
        return "only clients on the same machine are served"
    if not is_direct(environ):  # a proxy on this machine makes the whole world look local
        return "requests that come through a proxy are not served"
    # A page from anywhere can have a browser on this machine send requests here. Under a name of
    # its own that it lets point here (DNS rebinding), they would be of its own origin as well.
    if not _own_name(environ.get("HTTP_HOST", "localhost")):
        return "the host in the URL has to be localhost or 127.0.0.1"
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and not _own_origin(origin):
        return "requests of web pages from elsewhere are not served"
    if environ.get("HTTP_SEC_FETCH_SITE") == "cross-site":
        return "requests of web pages from elsewhere are not served"
    return None


_is_loopback = lru_cache(maxsize=256)(is_loopback)


@lru_cache(maxsize=256)
def _own_name(host: str) -> bool:
    """Say whether a ``Host`` is a name that nobody elsewhere can give to this machine."""
    name = split_port(host)[0].lower()
    # A name of a single label is in no public zone.
    return is_loopback(name) or name.endswith(".localhost") or not ("." in name or ":" in name)


def _own_origin(origin: str) -> bool:
    try:
        name = urlsplit(origin).hostname
    except ValueError:
        return False
    return name is not None and _own_name(f"[{name}]" if ":" in name else name)


filter_factory = factory(NoAuth)
