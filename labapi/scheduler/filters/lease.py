"""The filter ``lease``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labapi.scheduler.filters.base import Filter, Lack
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.kept import Ids
from labapi.scheduler.spec import RequestSpec


class Lease(Filter):
    """Keeps the hosts of a lease for its project, and a request to the lease that it asks for.

    A lease that has not begun, for others' cases still run on one of its hosts, lets nobody in.
    """

    name = "lease"

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        """Say whether no lease holds the host, or one that the request may use."""
        return _open_to(host, spec.project_id, spec.placement.lease)

    def index(self, spec: RequestSpec, hosts: HostStates) -> Iterable[Ids]:
        """Return the hosts that this project's leases, and those of no others, hold."""
        project, lease = spec.project_id, spec.placement.lease
        key = (self.name, project, lease)
        return (hosts.where(key, lambda host: _open_to(host, project, lease)),)

    def lacks(self, host: HostState, spec: RequestSpec) -> Sequence[Lack]:
        """Say until when the host is held."""
        held = host.held_by
        if held is None:
            return (Lack(self.name, "the lease does not hold it"),)
        until = f"until {held.until.isoformat()}" if held.until else "and has not begun"
        return (Lack(self.name, f"a lease holds it {until}"),)


def _open_to(host: HostState, project: str | None, lease: str | None) -> bool:
    held = host.held_by
    if held is None:
        return lease is None
    return held.until is not None and held.project_id == project and lease in (None, held.lease)
