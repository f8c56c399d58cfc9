"""The filter ``up``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labapi.scheduler.filters.base import Filter, Lack
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.kept import Ids
from labapi.scheduler.spec import RequestSpec


class Up(Filter):
    """Lets hosts pass whose agent is up and obeys the conductors, and that nobody has disabled."""

    name = "up"

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        """Say whether the host is up and enabled."""
        return _takes_cases(host)

    def index(self, spec: RequestSpec, hosts: HostStates) -> Iterable[Ids]:
        """Return the hosts that are up and enabled."""
        return (hosts.where(self.name, _takes_cases),)

    def lacks(self, host: HostState, spec: RequestSpec) -> Sequence[Lack]:
        """Say which of the three it is."""
        if not host.up:
            return (Lack(self.name, "its agent is down"),)
        if host.disabled:
            return (Lack(self.name, "it is disabled"),)
        return (Lack(self.name, "its agent does not trust the conductor's key"),)


def _takes_cases(host: HostState) -> bool:
    return host.up and host.trusts and not host.disabled
