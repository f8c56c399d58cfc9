"""The filter ``different_host``."""

from __future__ import annotations

from collections.abc import Sequence

from labapi.scheduler.filters.base import Filter, Lack
from labapi.scheduler.host_state import HostState
from labapi.scheduler.spec import RequestSpec


class DifferentHost(Filter):
    """Turns away the hosts that other cases were given to."""

    name = "different_host"

    def applies(self, spec: RequestSpec) -> bool:
        """Say whether those cases have hosts."""
        return bool(spec.different_hosts)

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        """Say whether none of those cases was given to the host."""
        return host.host not in spec.different_hosts

    def lacks(self, host: HostState, spec: RequestSpec) -> Sequence[Lack]:
        """Say that it has one of those cases."""
        return (Lack(self.name, "one of those cases is there"),)
