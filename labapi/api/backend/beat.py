"""Noting in the database that this API is up, for the list of services."""

from __future__ import annotations

import datetime
import threading

from oslo_config import cfg
from oslo_log import log

from labapi.db import services
from labapi.db.session import Database
from labapi.trouble import Trouble

LOG = log.getLogger(__name__)

BINARY = "labapi-api"


class Beat:
    """Writes a row of ``services`` every ``[api] heartbeat_interval`` seconds.

    The processes of one machine share the row: it is as fresh as the last of them, and one that
    stops while others go on is put right by their next note.
    """

    def __init__(self, conf: cfg.ConfigOpts, database: Database) -> None:
        self._machine: str = conf.api.machine
        self._interval: float = conf.api.heartbeat_interval
        self._database = database
        self._trouble = Trouble(LOG, "the note in the list of services that this API is up")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and note that this API has stopped."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)
            with self._trouble.told():  # else it is seen by its silence
                self._note(stopped=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._trouble.told():
                self._note()
            self._stopping.wait(self._interval)

    def _note(self, *, stopped: bool = False) -> None:
        now = datetime.datetime.now(datetime.UTC)
        self._database.write(services.beat, BINARY, {self._machine: None}, now, stopped=stopped)
