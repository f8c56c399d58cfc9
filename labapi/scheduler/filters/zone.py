"""The filter ``zone``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labapi.scheduler.filters.base import Filter, Lack
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.kept import Ids
from labapi.scheduler.spec import RequestSpec


class Zone(Filter):
    """Lets hosts of the wanted zone pass."""

    name = "zone"

    def applies(self, spec: RequestSpec) -> bool:
        """Say whether a zone is wanted."""
        return spec.placement.zone is not None

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        """Say whether the host is in the zone."""
        return host.zone == spec.placement.zone

    def index(self, spec: RequestSpec, hosts: HostStates) -> Iterable[Ids]:
        """Return the hosts of the zone."""
        zone = spec.placement.zone
        return (hosts.where((self.name, zone), lambda host: host.zone == zone),)

    def lacks(self, host: HostState, spec: RequestSpec) -> Sequence[Lack]:
        """Say in which zone it is."""
        return (Lack(f"{self.name} {spec.placement.zone}", f"it is in zone {host.zone}"),)
