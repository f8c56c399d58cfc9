"""The weigher ``prefer``."""

from __future__ import annotations

from labapi.scheduler.host_state import HostState
from labapi.scheduler.spec import RequestSpec
from labapi.scheduler.weighers.base import Weigher


class Prefer(Weigher):
    """Prefers hosts that fulfil what the request would like."""

    depends_on_request = True

    def applies(self, spec: RequestSpec) -> bool:
        """Say whether it would like anything."""
        return bool(spec.prefers)

    def weigh(self, host: HostState, spec: RequestSpec) -> float:
        """Return the part of its sentences that the host fulfils."""
        met = sum(sentence.met_by(host) for sentence in spec.prefers)
        return met / max(len(spec.prefers), 1)
