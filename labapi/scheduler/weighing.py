"""The weighers of the configuration, and what they say together."""

from __future__ import annotations

import math
from collections.abc import Iterable

from oslo_config import cfg

from labapi.exceptions import ConfigError
from labapi.scheduler import entry_points, foreign
from labapi.scheduler.host_state import HostState
from labapi.scheduler.spec import RequestSpec
from labapi.scheduler.weighers import Weigher

_NO_REQUEST = RequestSpec()

Weighted = tuple[float, Weigher]


class Weighing:
    """The weight of a host: what each weigher says, times its multiplier, in one sum.

    :param weighers: with their multipliers
    :ivar kept: those that depend on the host alone
    :ivar asked: those that depend on the request
    """

    def __init__(self, weighers: Iterable[Weighted] = ()) -> None:
        found = [(multiplier, weigher) for multiplier, weigher in weighers if multiplier]
        self.kept = [pair for pair in found if not pair[1].depends_on_request]
        self.asked = [pair for pair in found if pair[1].depends_on_request]

    def base(self, host: HostState) -> float:
        """Return the part of a host's weight that no request changes."""
        # math.fsum: the sum does not depend on the order of the weighers.
        return math.fsum(
            multiplier * foreign.weight(weigher, host, _NO_REQUEST)
            for multiplier, weigher in self.kept
        )

    def for_request(self, spec: RequestSpec) -> list[Weighted]:
        """Return multipliers and weighers to which the request makes a difference."""
        return [pair for pair in self.asked if pair[1].applies(spec)]


def load(conf: cfg.ConfigOpts) -> Weighing:
    """Return the weighers that are configured.

    :raises ConfigError: one cannot be used, or its multiplier is not a number
    """
    return Weighing(
        (_multiplier(name, text), entry_points.load(Weigher, "weighers", name, conf))
        for name, text in conf.scheduler.weighers.items()
    )


def added(weighers: list[Weighted], host: HostState, spec: RequestSpec) -> float:
    """Return what the request adds to the weight of a host."""
    return math.fsum(
        multiplier * foreign.weight(weigher, host, spec) for multiplier, weigher in weighers
    )


def most(weighers: list[Weighted]) -> float:
    """Return the most that a request can add to a host's weight."""
    return math.fsum(max(multiplier, 0.0) for multiplier, _ in weighers)


def _multiplier(name: str, text: str) -> float:
    try:
        multiplier = float(text)
    except ValueError:
        multiplier = math.nan
    if not math.isfinite(multiplier):
        raise ConfigError(f"[scheduler] weighers: {name}:{text}: expected NAME:NUMBER")
    return multiplier
