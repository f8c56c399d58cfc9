"""The weigher ``load``."""

from __future__ import annotations

from labapi.scheduler.host_state import HostState
from labapi.scheduler.spec import RequestSpec
from labapi.scheduler.weighers.base import Weigher, number


class Load(Weigher):
    """Prefers hosts on which little goes on, whoever does it."""

    def weigh(self, host: HostState, spec: RequestSpec) -> float:
        """Return 1 for no load and 1/2 for a load of 1 per slot; 0 where it does not tell."""
        if "load1" not in host.facts:
            return 0.0
        return 1 / (1 + max(number(host, "load1"), 0.0) / max(host.slots, 1))
