"""The filter ``catalogue``."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from labapi.scheduler import catalogue
from labapi.scheduler.filters.base import Filter, Lack
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.kept import Ids
from labapi.scheduler.spec import RequestSpec

LARGE_ONES = 64  # answers about large catalogues that are kept; each keeps a text of some megabytes


class Catalogue(Filter):
    """Lets hosts pass that have the method, with a schema that accepts the parameters."""

    name = "catalogue"

    def applies(self, spec: RequestSpec) -> bool:
        """Say whether the request is for a plugin at all; a lease is not."""
        return spec.plugin is not None

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        """Say whether the host has the method, and would accept the parameters."""
        schema = _schema(host, spec.plugin, spec.method)
        return schema is not None and _problem(schema, spec) is None

    def index(self, spec: RequestSpec, hosts: HostStates) -> Iterable[Ids]:
        """Return the hosts that have the method."""
        plugin, method = spec.plugin, spec.method
        key = (self.name, plugin, method)
        return (hosts.where(key, lambda host: _schema(host, plugin, method) is not None),)

    def lacks(self, host: HostState, spec: RequestSpec) -> Sequence[Lack]:
        """Say whether it lacks the method, or what is wrong with the parameters there."""
        schema = _schema(host, spec.plugin, spec.method)
        method = ".".join(name for name in (spec.plugin, spec.method) if name)
        if schema is None:
            return (Lack(f"{self.name} {method}", "it does not offer this"),)
        return (Lack(f"{self.name} {method}: parameters", _problem(schema, spec) or ""),)


def _schema(host: HostState, plugin: str | None, method: str | None) -> bytes | None:
    """Return the schema of a host's method, None if it has no such method or plugin."""
    find = _found if len(host.plugins) <= catalogue.LARGE else _kept
    return find(host.plugins, plugin, method)


def _found(plugins: str, plugin: str | None, method: str | None) -> bytes | None:
    methods = catalogue.read(plugins).plugins.get(plugin or "")
    if methods is None:
        return None
    if method is None:
        return b"null"  # what only asks for a plugin is content with each of its methods
    found = methods.get(method)
    return None if found is None else bytes(found.schema)


# A large catalogue is decoded each time: one host that announces such a one would be asked about
# in every decision.
_kept = functools.lru_cache(maxsize=LARGE_ONES)(_found)


def _problem(schema: bytes, spec: RequestSpec) -> str | None:
    """Say what is wrong with the parameters; many hosts have the same schema, so ask it once."""
    if spec.parameters is None:
        return None
    if schema not in spec.verdicts:
        spec.verdicts[schema] = catalogue.mismatch(schema, spec.parameters)
    return spec.verdicts[schema]
