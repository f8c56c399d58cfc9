"""The weigher ``affinity``."""

from __future__ import annotations

from labapi.scheduler.host_state import HostState
from labapi.scheduler.spec import RequestSpec
from labapi.scheduler.weighers.base import Weigher


class Affinity(Weigher):
    """Prefers hosts that have cases of the same batch, so that few hosts are used."""

    depends_on_request = True

    def applies(self, spec: RequestSpec) -> bool:
        """Say whether any case of the batch was given to a host."""
        return bool(spec.batch_hosts)

    def weigh(self, host: HostState, spec: RequestSpec) -> float:
        """Return 0, 1/2, 2/3 … for no case of the batch, one, two and so on."""
        return 1 - 1 / (1 + spec.batch_hosts.get(host.host, 0))
