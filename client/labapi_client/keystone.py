"""Who asks, by Keystone: sessions of keystoneauth1, from the environment or ``clouds.yaml``.

Only tokens and the catalogue come by way of the session; requests to the lab do not.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from keystoneauth1 import exceptions as keystone_errors
from keystoneauth1 import loading
from keystoneauth1.session import Session

from labapi_client import clouds
from labapi_client.configuration import Given, Way, base
from labapi_client.exceptions import BadConfiguration, ConnectionFailed, LabError, Unauthorized

SERVICE_TYPE = "test-lab"
TIMEOUT = 30.0  # seconds that Keystone may take to answer


class Keystone:
    """An identity whose token is renewed when it has expired.

    :param session: of keystoneauth1, with a plugin that authenticates
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._lock = threading.Lock()

    def headers(self) -> Mapping[str, str]:
        """Return the token, a new one if need be.

        :raises Unauthorized: Keystone does not believe who asks
        :raises ConnectionFailed: Keystone cannot be reached
        """
        try:
            with self._lock:
                return dict(self._session.get_auth_headers() or {})
        except keystone_errors.ClientException as error:
            raise _error(error) from None

    def renew(self) -> bool:
        """Forget the token, if there can be another."""
        with self._lock:
            return bool(self._session.invalidate())


def way(given: Given, env: Mapping[str, str]) -> Way:
    """Return the way to a lab by Keystone.

    :raises BadConfiguration: the session cannot be made
    """
    cloud = clouds.Cloud()
    session = given.session
    if session is None:
        name = given.cloud or env.get("OS_CLOUD")
        cloud = clouds.load(name, env) if name else clouds.from_environment(env)
        session = _session(cloud)
    url = given.url or cloud.endpoint
    region = given.region_name or cloud.region_name
    interface = given.interface or cloud.interface

    def endpoint() -> str:
        return base(url or _catalogued(session, interface, region))

    cert = (session.cert, None) if isinstance(session.cert, str) else session.cert
    return Way(endpoint, Keystone(session), given.cacert or session.verify, cert)


def _session(cloud: clouds.Cloud) -> Session:
    try:
        loader: Any = loading.get_plugin_loader(cloud.auth_type)
        wanted = {option.dest for option in loader.get_options()}
        aliases = {
            old.dest: option.dest for option in loader.get_options() for old in option.deprecated
        }
        given = {aliases.get(name, name): value for name, value in cloud.auth.items()}
        plugin = loader.load_from_options(**{n: v for n, v in given.items() if n in wanted})
    except keystone_errors.ClientException as error:
        raise BadConfiguration(f"{cloud.source}: {error}") from None
    return Session(auth=plugin, verify=cloud.verify, cert=cloud.cert, timeout=TIMEOUT)


def _catalogued(session: Any, interface: str, region: str | None) -> str:
    """Return the URL of the lab in Keystone's catalogue."""
    try:
        found = session.get_endpoint(
            service_type=SERVICE_TYPE, interface=interface, region_name=region
        )
    except keystone_errors.CatalogException:
        found = None  # an empty catalogue is as one without this service
    except keystone_errors.ClientException as error:
        raise _error(error) from None
    if not found:
        raise BadConfiguration(
            f"Keystone's catalogue has no service of the type {SERVICE_TYPE}"
            f" ({interface}, region {region or 'any'}); give the URL of the lab"
        )
    return str(found)


def _error(error: Exception) -> LabError:
    request_id = getattr(error, "request_id", None)
    if isinstance(error, keystone_errors.ConnectionError):
        return ConnectionFailed(f"Keystone cannot be reached: {error}", request_id)
    return Unauthorized(f"Keystone: {error}", request_id, code=401)
