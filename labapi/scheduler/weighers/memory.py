"""The weigher ``memory``."""

from __future__ import annotations

from labapi.scheduler.host_state import HostState
from labapi.scheduler.spec import RequestSpec
from labapi.scheduler.weighers.base import Weigher, number


class Memory(Weigher):
    """Prefers hosts with much free memory."""

    def weigh(self, host: HostState, spec: RequestSpec) -> float:
        """Return the part of the host's memory that is free, 0 where it does not tell."""
        total = number(host, "memory_total_mib")
        return number(host, "memory_available_mib") / total if total > 0 else 0.0
