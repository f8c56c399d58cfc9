"""Whether there is room for another case on a host."""

from __future__ import annotations

import datetime
from typing import Any

from oslo_config import cfg

from labapi.servicegroup.driver import Liveness


class Room:
    """Says how many more cases a host can be given now.

    The truth is the database's: who gives cases to a host asks with a row that was just read.

    :param conf: configuration with the group ``[scheduler]``
    :ivar ahead: how many cases a host is given beyond its slots
    """

    def __init__(self, conf: cfg.ConfigOpts, liveness: Liveness) -> None:
        self.ahead: int = conf.scheduler.dispatch_ahead
        self._liveness = liveness

    def takes(self, host: Any, now: datetime.datetime) -> bool:
        """Say whether a host takes cases at all: it is neither disabled nor down.

        :param host: a row with ``host, disabled, last_seen_at, stopped``
        """
        return not host.disabled and self._liveness.is_up(host, now)

    def of(self, host: Any, now: datetime.datetime) -> int:
        """Return how many cases a host can take; none if it is disabled or down.

        :param host: a row with ``host, slots, active, disabled, last_seen_at, stopped``
        """
        if not self.takes(host, now):
            return 0
        return max(0, int(host.slots + self.ahead - host.active))
