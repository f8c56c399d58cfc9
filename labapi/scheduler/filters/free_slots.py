"""The filter ``free_slots``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labapi.scheduler.filters.base import Filter, Lack
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.kept import Ids
from labapi.scheduler.spec import RequestSpec


class FreeSlots(Filter):
    """Lets hosts pass that have a free slot, or a place in the queue ahead of those in a hurry."""

    name = "free_slots"

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        """Say whether there is room for one more case."""
        return host.free + spec.ahead > 0

    def index(self, spec: RequestSpec, hosts: HostStates) -> Iterable[Ids]:
        """Return the hosts that have room; it changes with every case."""
        ahead = spec.ahead
        return (
            hosts.where((self.name, ahead), lambda host: host.free + ahead > 0, follows_room=True),
        )

    def lacks(self, host: HostState, spec: RequestSpec) -> Sequence[Lack]:
        """Say how many cases it has."""
        return (Lack(self.name, f"it has {host.active} cases for {host.slots} slots"),)
