"""The weigher ``free_slots``."""

from __future__ import annotations

from labapi.scheduler.host_state import HostState
from labapi.scheduler.spec import RequestSpec
from labapi.scheduler.weighers.base import Weigher


class FreeSlots(Weigher):
    """Prefers hosts with many free slots, so that cases are spread."""

    def weigh(self, host: HostState, spec: RequestSpec) -> float:
        """Return the part of the host's slots in which nothing runs."""
        return host.free / max(host.slots, 1)
