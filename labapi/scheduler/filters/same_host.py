"""The filter ``same_host``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labapi.scheduler.filters.base import Filter, Lack
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.kept import Ids
from labapi.scheduler.spec import RequestSpec


class SameHost(Filter):
    """Lets the hosts pass that other cases were given to."""

    name = "same_host"

    def applies(self, spec: RequestSpec) -> bool:
        """Say whether the request names cases whose host it wants."""
        return spec.same_hosts is not None

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        """Say whether it is the host of one of those cases."""
        return spec.same_hosts is None or host.host in spec.same_hosts

    def index(self, spec: RequestSpec, hosts: HostStates) -> Iterable[Ids]:
        """Return those hosts."""
        found = (hosts.named(name) for name in spec.same_hosts or ())
        return ({host.id for host in found if host is not None},)

    def lacks(self, host: HostState, spec: RequestSpec) -> Sequence[Lack]:
        """Say where those cases are."""
        where = ", ".join(sorted(spec.same_hosts or ())) or "no host yet"
        return (Lack(self.name, f"those cases are on {where}"),)
