"""The weigher ``anti_affinity``."""

from __future__ import annotations

from labapi.scheduler.host_state import HostState
from labapi.scheduler.spec import RequestSpec
from labapi.scheduler.weighers.base import Weigher


class AntiAffinity(Weigher):
    """Prefers hosts without cases of the same batch, so that a batch is spread."""

    depends_on_request = True

    def applies(self, spec: RequestSpec) -> bool:
        """Say whether any case of the batch was given to a host."""
        return bool(spec.batch_hosts)

    def weigh(self, host: HostState, spec: RequestSpec) -> float:
        """Return 1, 1/2, 1/3 … for no case of the batch, one, two and so on."""
        return 1 / (1 + spec.batch_hosts.get(host.host, 0))
