"""The filter ``requires``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labapi.scheduler.filters.base import Filter, Lack
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.kept import Ids
from labapi.scheduler.spec import RequestSpec


class Requires(Filter):
    """Lets hosts pass that fulfil the sentences of the request."""

    name = "requires"

    def applies(self, spec: RequestSpec) -> bool:
        """Say whether there is a sentence."""
        return bool(spec.requires)

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        """Say whether the host fulfils all sentences."""
        return all(sentence.met_by(host) for sentence in spec.requires)

    def index(self, spec: RequestSpec, hosts: HostStates) -> Iterable[Ids]:
        """Return the hosts that fulfil each sentence."""
        return map(hosts.meeting, spec.requires)

    def lacks(self, host: HostState, spec: RequestSpec) -> Sequence[Lack]:
        """Say which sentences it does not fulfil, in the caller's own words."""
        return [
            Lack(f"{self.name} {sentence.text}", sentence.lack(host))
            for sentence in spec.requires
            if not sentence.met_by(host)
        ]
