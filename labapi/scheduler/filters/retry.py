"""The filter ``retry``."""

from __future__ import annotations

from collections.abc import Sequence

from labapi.scheduler.filters.base import Filter, Lack
from labapi.scheduler.host_state import HostState
from labapi.scheduler.spec import RequestSpec


class Retry(Filter):
    """Turns away the hosts that failed this case by the lab's fault."""

    name = "retry"

    def applies(self, spec: RequestSpec) -> bool:
        """Say whether the case was tried before."""
        return bool(spec.tried)

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        """Say whether the case was not tried there."""
        return host.host not in spec.tried

    def lacks(self, host: HostState, spec: RequestSpec) -> Sequence[Lack]:
        """Say that the case was there."""
        return (Lack(self.name, "this case failed there by the lab's fault"),)
