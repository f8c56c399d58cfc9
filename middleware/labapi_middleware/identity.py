"""The identity headers of OpenStack, and when they can be believed.

Filters hand on identity in request headers, as keystonemiddleware does. A client can send such
headers as well, so they count only together with something in the environ that no client can set
(a header always arrives as ``HTTP_…``): ``labapi.auth`` of this package's authentications, or
``keystone.token_info``, which auth_token sets for a token that it has validated and for no other.
Its ``keystone.token_auth`` proves nothing; it is there for a bad token, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from labapi_middleware.environ import AUTH, KEYSTONE

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# Every header that names an identity or proves it. These are environ keys, so any spelling of a
# header (case, underscores) is one key, and prefixes, so that the next X-Project-Something is
# covered before anybody has heard of it.
_PREFIXES = (
    "HTTP_X_USER",
    "HTTP_X_PROJECT",
    "HTTP_X_ROLE",
    "HTTP_X_TENANT",
    "HTTP_X_DOMAIN",
    "HTTP_X_SERVICE_",
    "HTTP_X_IDENTITY_",
    "HTTP_X_IS_ADMIN",
    "HTTP_X_TRUST",
    "HTTP_X_AUTH_",
    "HTTP_X_STORAGE_TOKEN",
    "HTTP_OPENSTACK_SYSTEM_SCOPE",
)

# What auth_token 13 removes from the client's request and sets itself. It sets
# OpenStack-System-Scope too, but a service token's scope overwrites the user's there.
_SCOPED = (
    "DOMAIN_ID",
    "DOMAIN_NAME",
    "ROLES",
    *(f"{noun}_DOMAIN_{field}" for noun in ("PROJECT", "USER") for field in ("ID", "NAME")),
    *(f"{noun}_{field}" for noun in ("PROJECT", "USER") for field in ("ID", "NAME")),
)
CONFIRMED_KEYS = frozenset(
    {
        "HTTP_X_IDENTITY_STATUS",
        "HTTP_X_SERVICE_IDENTITY_STATUS",
        "HTTP_X_IS_ADMIN_PROJECT",
        "HTTP_X_SERVICE_CATALOG",
        "HTTP_X_ROLE",
        "HTTP_X_USER",
        "HTTP_X_TENANT",
        "HTTP_X_TENANT_ID",
        "HTTP_X_TENANT_NAME",
        *(f"HTTP_X_{field}" for field in _SCOPED),
        *(f"HTTP_X_SERVICE_{field}" for field in _SCOPED),
    }
)


def keys(environ: WSGIEnvironment) -> list[str]:
    """Return the environ keys of all identity headers of a request."""
    # Few keys are headers, and to compare with one prefix is quicker than with all of them.
    return [key for key in environ if key.startswith("HTTP_") and key.startswith(_PREFIXES)]


def drop(environ: WSGIEnvironment) -> None:
    """Remove every identity header, credentials of other authentications included."""
    for key in keys(environ):
        del environ[key]
    environ.pop(AUTH, None)
    environ.pop(KEYSTONE, None)


def confirm(
    environ: WSGIEnvironment,
    auth: str,
    user: str,
    project: str | None,
    roles: Iterable[str],
) -> None:
    """Replace whatever identity the request came with by the one that was found.

    :param auth: name of the authentication that answers for it
    :param user: id and name of the user
    :param project: id and name of the project, None for none
    """
    drop(environ)
    environ[AUTH] = auth
    environ["HTTP_X_IDENTITY_STATUS"] = "Confirmed"
    environ["HTTP_X_USER_ID"] = environ["HTTP_X_USER_NAME"] = user
    if project is not None:
        environ["HTTP_X_PROJECT_ID"] = environ["HTTP_X_PROJECT_NAME"] = project
    environ["HTTP_X_ROLES"] = ",".join(roles)


def confirmed_by(environ: WSGIEnvironment) -> str | None:
    """Return which authentication confirmed the identity headers, None if none did."""
    if environ.get("HTTP_X_IDENTITY_STATUS") != "Confirmed":
        return None
    # With a delayed decision auth_token lets a request with a refused service token through.
    if environ.get("HTTP_X_SERVICE_IDENTITY_STATUS", "Confirmed") != "Confirmed":
        return None
    if auth := environ.get(AUTH):
        return str(auth)
    return "keystone" if environ.get(KEYSTONE) else None


def value(environ: WSGIEnvironment, header: str) -> str | None:
    """Return one identity header, None if it is absent.

    auth_token puts None itself, and some servers then the word, where a token has no such value.

    :param header: the part after ``HTTP_X_``, such as ``PROJECT_ID``
    """
    found = environ.get(f"HTTP_X_{header}")
    return None if found is None or found in ("", "None") else str(found)


def user_id(environ: WSGIEnvironment) -> str | None:
    """Return the confirmed user's id, None if nobody is confirmed."""
    return value(environ, "USER_ID") if confirmed_by(environ) else None


def project_id(environ: WSGIEnvironment) -> str | None:
    """Return the confirmed project's id, None if nobody is confirmed or there is no project."""
    return value(environ, "PROJECT_ID") if confirmed_by(environ) else None
