"""What a scheduler driver does, and which one is configured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from oslo_config import cfg

from labapi.scheduler import entry_points
from labapi.scheduler.filters import access
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.spec import RequestSpec


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which hosts will do, and why the others will not.

    :ivar hosts: that will do, best first
    :ivar turned_away: how many hosts each filter turned away, those that an earlier one did left
        out; the key is its name, or the caller's own sentence
    :ivar nearest: the host that lacks least, if any may be named
    :ivar lacks: what the nearest one lacks
    """

    hosts: list[HostState] = field(default_factory=list)
    turned_away: dict[str, int] = field(default_factory=dict)
    nearest: HostState | None = None
    lacks: list[str] = field(default_factory=list)


class Driver(ABC):
    """Chooses hosts; an entry point of ``labapi.scheduler.drivers``.

    :param conf: the whole configuration
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf

    @abstractmethod
    def select(self, spec: RequestSpec, hosts: HostStates, count: int = 1) -> list[HostState]:
        """Choose a host for each of some equal cases, and consume it before the next is chosen.

        :return: as many as there are hosts for, in the order of choice; one that has room for two
            may stand there twice
        """

    @abstractmethod
    def explain(self, spec: RequestSpec, hosts: HostStates) -> Explanation:
        """Say which hosts a case may be given to, and why not to the others.

        Every filter is asked about every host: with 10,000 hosts it takes a tenth of a second.
        """

    @abstractmethod
    def why_not(self, spec: RequestSpec, host: HostState) -> str | None:
        """Say why a case may not be given to a host; None: it may."""

    def never_met(self, spec: RequestSpec, hosts: HostStates) -> list[str]:
        """Say which of the requirements no host has ever met, and what may be meant instead."""
        return hosts.vocabulary.never_met(
            spec.requires, hosts, lambda host: access.lets_in(host, spec)
        )


def load(conf: cfg.ConfigOpts) -> Driver:
    """Return the driver that is configured.

    :raises ConfigError: it cannot be used, or one of its filters or weighers cannot
    """
    driver: Driver = entry_points.load(Driver, "driver", conf.scheduler.driver, conf)
    return driver
