"""Build the request's context from an identity that this pipeline has confirmed.

``[filter:context]``
    ``use = egg:labapi-middleware#context``

It has no options and stands to the right of the authentication (``noauth``, ``basic``,
keystonemiddleware's ``auth_token``). ``environ['labapi.context']`` becomes a dict with

``request_id``, ``global_request_id``
    as the request_id filter set them, or None
``auth``
    name of the authentication: ``noauth``, ``basic``, ``keystone``
``user_id``, ``user_name``, ``user_domain_id``
    the last two None where unknown
``project_id``, ``project_name``, ``project_domain_id``, ``domain_id``
    None for a token without such a scope
``roles``
    tuple of lower-case names
``remote_address``
    the client's address

Without a confirmed identity the answer is a 401 fault. Identity headers count only together with
what the authentication leaves in the environ, which no client can set. Identity headers that
auth_token lets through though nobody has confirmed them (``OpenStack-System-Scope``,
``X-User-Roles``, ``X-Trust-Id`` …) and credentials (``X-Auth-Token``) are dropped.

``delay_auth_decision`` of auth_token has to be off, its default: with it, a Keystone that is away
looks like a bad token, and the answer here is 401 instead of auth_token's 503.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from labapi_middleware import faults, identity
from labapi_middleware.contract import CONTEXT as CONTEXT_GIVEN
from labapi_middleware.contract import IDENTITY, Need
from labapi_middleware.environ import CONTEXT, GLOBAL_REQUEST_ID, REQUEST_ID
from labapi_middleware.filter import Conf, Filter, factory
from labapi_middleware.log_text import request_line

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LOG = logging.getLogger(__name__)


class Context(Filter):
    """Set ``labapi.context``, or answer 401."""

    name = "context"
    gives = CONTEXT_GIVEN

    @classmethod
    def needs(cls, conf: Conf) -> tuple[Need, ...]:
        """Ask for an authentication."""
        return (Need(IDENTITY),)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Hand the request on with its context."""
        auth = identity.confirmed_by(environ)
        user_id = identity.value(environ, "USER_ID")
        if auth is None or user_id is None:
            LOG.info("%s denied: its identity is not confirmed", request_line(environ))
            return faults.respond(environ, start_response, 401, faults.message(401))
        for key in identity.keys(environ):
            if key not in identity.CONFIRMED_KEYS or environ[key] is None:
                del environ[key]
        environ[CONTEXT] = _context(environ, auth, user_id)
        return self.app(environ, start_response)


def _context(environ: WSGIEnvironment, auth: str, user_id: str) -> dict[str, Any]:
    return {
        "request_id": environ.get(REQUEST_ID),
        "global_request_id": environ.get(GLOBAL_REQUEST_ID),
        "auth": auth,
        "user_id": user_id,
        "user_name": identity.value(environ, "USER_NAME"),
        "user_domain_id": identity.value(environ, "USER_DOMAIN_ID"),
        "project_id": identity.value(environ, "PROJECT_ID"),
        "project_name": identity.value(environ, "PROJECT_NAME"),
        "project_domain_id": identity.value(environ, "PROJECT_DOMAIN_ID"),
        "domain_id": identity.value(environ, "DOMAIN_ID"),
        "roles": _roles(identity.value(environ, "ROLES") or ""),
        "remote_address": environ.get("REMOTE_ADDR"),
    }


@lru_cache(maxsize=256)
def _roles(written: str) -> tuple[str, ...]:
    names = (role.strip().lower() for role in written.split(","))
    return tuple(dict.fromkeys(name for name in names if name))


filter_factory = factory(Context)
