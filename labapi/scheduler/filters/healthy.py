"""The filter ``healthy``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labapi.scheduler.filters.base import Filter, Lack
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.kept import Ids
from labapi.scheduler.spec import RequestSpec


class Healthy(Filter):
    """Lets hosts pass that are not benched."""

    name = "healthy"

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        """Say whether the host is not benched."""
        return host.bad is None

    def index(self, spec: RequestSpec, hosts: HostStates) -> Iterable[Ids]:
        """Return the hosts that are not benched."""
        return (hosts.where(self.name, lambda host: host.bad is None),)

    def lacks(self, host: HostState, spec: RequestSpec) -> Sequence[Lack]:
        """Say why it is benched."""
        return (Lack(self.name, f"it is benched: {host.bad}"),)
