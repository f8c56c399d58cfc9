"""The filter ``access``."""

from __future__ import annotations

from collections.abc import Iterable

from labapi.scheduler import addresses
from labapi.scheduler.filters.base import Filter
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.kept import Ids
from labapi.scheduler.spec import Access as Rules
from labapi.scheduler.spec import RequestSpec


class Access(Filter):
    """Turns away hosts whose allow-lists keep the caller's address out.

    The lists are metadata, and the rules those of the filter ``ip_whitelist``.
    """

    name = "access"
    conceals = True

    def applies(self, spec: RequestSpec) -> bool:
        """Say whether any filter of the pipeline guards hosts from this caller."""
        return spec.placement.access is not None

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        """Say whether the host has no list, or one with the caller's address."""
        return lets_in(host, spec)

    def index(self, spec: RequestSpec, hosts: HostStates) -> Iterable[Ids]:
        """Return the hosts that let the caller in."""
        client, access = spec.placement.client, spec.placement.access
        if access is not None:
            key = (self.name, client, access)
            yield hosts.where(key, lambda host: _lets_in(host, client, access))


def lets_in(host: HostState, spec: RequestSpec) -> bool:
    """Say whether the lists of a host let the caller in."""
    access = spec.placement.access
    return access is None or _lets_in(host, spec.placement.client, access)


def _lets_in(host: HostState, client: str | None, access: Rules) -> bool:
    lists = [text for key, text in host.metadata.items() if key.lower().startswith(access.prefix)]
    if not lists and not access.closed_by_default:
        return True
    address = addresses.parse_address(client or "")
    if address is None:
        return False
    return access.everywhere or any(
        address in network for text in lists for network in addresses.read_list(text)
    )
