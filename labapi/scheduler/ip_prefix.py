"""The driver by which the caller's address says what its hosts are called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from oslo_config import cfg

from labapi.exceptions import ConfigError
from labapi.scheduler import addresses
from labapi.scheduler.filter_scheduler import FilterScheduler
from labapi.scheduler.filters import Filter, Lack
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.kept import Ids
from labapi.scheduler.spec import RequestSpec


class IPPrefix(FilterScheduler):
    """Chooses as ``filter_scheduler`` does, among the hosts with the prefix of the caller."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self.filters.append(NamePrefix(conf))


class NamePrefix(Filter):
    """Lets hosts pass whose names start with the prefix of the caller's network."""

    name = "ip_prefix"

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self._prefixes = [_line(line) for line in conf.scheduler.ip_prefix]

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        """Say whether the host's name starts with the caller's prefix."""
        prefix = self._prefix(spec.placement.client)
        return prefix is not None and host.host.startswith(prefix)

    def index(self, spec: RequestSpec, hosts: HostStates) -> Iterable[Ids]:
        """Return the hosts with the caller's prefix."""
        prefix = self._prefix(spec.placement.client)
        if prefix is None:
            return (set(),)
        return (hosts.where((self.name, prefix), lambda host: host.host.startswith(prefix)),)

    def lacks(self, host: HostState, spec: RequestSpec) -> Sequence[Lack]:
        """Say which prefix is the caller's."""
        prefix = self._prefix(spec.placement.client)
        if prefix is None:
            return (Lack(self.name, "no line of the option has the caller's address"),)
        return (Lack(self.name, f"its name does not start with {prefix!r}"),)

    def _prefix(self, client: str | None) -> str | None:
        address = addresses.parse_address(client or "")
        for network, prefix in self._prefixes:
            if network is None or (address is not None and address in network):
                return prefix
        return None


def _line(line: str) -> tuple[addresses.Network | None, str]:
    network, equals, prefix = (part.strip() for part in line.partition("="))
    if not equals:
        raise ConfigError(f"[scheduler] ip_prefix: {line!r}: expected NETWORK=PREFIX or *=PREFIX")
    try:
        return None if network == "*" else addresses.parse_network(network), prefix
    except ValueError as error:
        raise ConfigError(f"[scheduler] ip_prefix: {line!r}: {error}") from None
