"""What a weigher is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from oslo_config import cfg

from labapi.scheduler.host_state import HostState
from labapi.scheduler.spec import RequestSpec


class Weigher(ABC):
    """Says how good a host is; an entry point of ``labapi.scheduler.weighers``.

    It looks at one host and never at the others, so what it says is kept until the host changes.

    :ivar depends_on_request: it reads the request, so what it says is not kept
    :param conf: the whole configuration
    """

    depends_on_request: ClassVar[bool] = False

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf

    def applies(self, spec: RequestSpec) -> bool:
        """Say whether the request makes a difference between hosts; asked if it depends on it."""
        return True

    @abstractmethod
    def weigh(self, host: HostState, spec: RequestSpec) -> float:
        """Return how good a host is, from 0 to 1; what is beyond is cut off.

        :param spec: the request, an empty one where the weigher does not depend on it
        """


# A fact beyond this is not believed; arithmetic with the largest numbers of JSON would fail.
_LARGEST = 1e15


def number(host: HostState, key: str) -> float:
    """Return a fact that is a number; 0 where the host tells nothing, or something else."""
    value = host.facts.get(key)
    if isinstance(value, int | float) and abs(value) <= _LARGEST:
        return float(value)
    return 0.0
