"""The weigher ``faults``."""

from __future__ import annotations

from labapi.scheduler.host_state import HostState
from labapi.scheduler.spec import RequestSpec
from labapi.scheduler.weighers.base import Weigher


class Faults(Weigher):
    """Prefers hosts on which no case has failed lately by the lab's fault."""

    def weigh(self, host: HostState, spec: RequestSpec) -> float:
        """Return 1, 1/2, 1/3 … for no such case, one, two and so on."""
        return 1 / (1 + host.faults)
