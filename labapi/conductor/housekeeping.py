"""Taking out what is older than ``[conductor] keep_cases`` and its like say (``OPTIONS``)."""

from __future__ import annotations

import datetime
import threading

from oslo_config import cfg
from oslo_log import log

from labapi.db import purge
from labapi.db.purge import Old, Purge
from labapi.db.session import Database
from labapi.trouble import Trouble

LOG = log.getLogger(__name__)

INTERVAL = 3600.0  # seconds between looks for what has become old
OPTIONS = ("keep_cases", "keep_output", "keep_leases", "keep_hosts")


class Housekeeping(threading.Thread):
    """Looks for what is old at the start and every hour; several conductors may do it at once.

    :param conf: configuration with the ``[conductor]`` group
    """

    def __init__(self, conf: cfg.ConfigOpts, database: Database) -> None:
        super().__init__(name="housekeeping", daemon=True)
        self._keep: dict[str, float] = {
            name: conf.conductor[name] for name in OPTIONS if conf.conductor[name] is not None
        }
        self._database = database
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start, if there is anything that is not kept for ever; say what is."""
        for_ever = [name for name in OPTIONS if name not in self._keep]
        if for_ever:
            LOG.info("kept for ever: [conductor] %s not set", ", ".join(for_ever))
        if self._keep:
            super().start()

    def stop(self, timeout: float = 10.0) -> None:
        """End after the transaction at hand; wait for it at most ``timeout`` seconds."""
        self._stopping.set()
        self.join(timeout)

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end, if it was started."""
        if self.ident is not None:
            super().join(timeout)

    def run(self) -> None:
        """Take out what is old, again and again."""
        trouble = Trouble(LOG, "housekeeping")
        while not self._stopping.is_set():
            with trouble.told():
                self.tidy(datetime.datetime.now(datetime.UTC))
            self._stopping.wait(INTERVAL)

    def tidy(self, now: datetime.datetime) -> None:
        """Take out what is old at this time."""
        before = {name: now - datetime.timedelta(days=days) for name, days in self._keep.items()}
        done = {}
        if "keep_cases" in before:
            done["cases"] = self._purge().cases(Old(before["keep_cases"]))
        if "keep_output" in before:
            done["pieces of output"] = self._purge().output(Old(before["keep_output"]))
        if "keep_leases" in before:
            done["leases"] = self._purge().leases(before["keep_leases"])
        if "keep_hosts" in before:
            done["hosts"] = purge.hosts(self._database, before["keep_hosts"])
        removed = ", ".join(f"{count} {what}" for what, count in done.items() if count)
        if removed:
            LOG.info("housekeeping: removed %s", removed)

    def _purge(self) -> Purge:
        return Purge(self._database, stopping=self._stopping.is_set)
