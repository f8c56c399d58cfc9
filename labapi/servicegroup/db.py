"""Liveness from the database: an agent is up if a conductor heard of it lately."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from labapi.servicegroup.driver import Liveness, heard_lately


class Database(Liveness):
    """Believes the database: two columns that are read anyway."""

    def is_up(self, row: Any, now: datetime.datetime) -> bool:
        """Compare the time of the last heartbeat with now."""
        return heard_lately(row, now, self.down_time)

    def heard(self, hosts: Iterable[str], now: datetime.datetime) -> None:
        """Do nothing: the conductor has just written it down."""

    def close(self) -> None:
        """Do nothing."""
