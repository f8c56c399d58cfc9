"""The keys that conductors sign commands with, for whoever compares them with what agents trust."""

from __future__ import annotations

import datetime
import time

from oslo_config import cfg

from labapi.db import services
from labapi.db.session import Database

KEPT = 5.0  # seconds until the database is asked again


class ConductorKeys:
    """Knows the keys of the conductors that are up, some seconds old at most.

    :param conf: configuration with the group ``[conductor]``
    """

    def __init__(self, conf: cfg.ConfigOpts, database: Database) -> None:
        self._down_time: float = conf.conductor.service_down_time
        self._database = database
        self._known: tuple[float, frozenset[str | None]] = (float("-inf"), frozenset())

    def current(self) -> frozenset[str | None]:
        """Return short names of keys; None stands for a conductor that does not sign."""
        asked, keys = self._known
        if time.monotonic() - asked > KEPT:
            now = datetime.datetime.now(datetime.UTC)
            keys = frozenset(self._database.read(services.signing_keys, now, self._down_time))
            self._known = (time.monotonic(), keys)
        return keys
