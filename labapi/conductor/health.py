"""Benches hosts that the lab's faults meet again and again, and tries whether they are well again.

Any number of conductors do it at once: each move is one guarded transaction.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable

from oslo_config import cfg
from oslo_log import log

from labapi.case import Reason, Result, State
from labapi.conductor import audit
from labapi.db import attempts, health
from labapi.db.session import Database, Record
from labapi.servicegroup.driver import Liveness

LOG = log.getLogger(__name__)

TIDY = 3600.0  # seconds between removals of old faults
PASSED = "its health case {} has passed"
UNDELIVERED = "the host's agent could not be given its health case"


class Health:
    """Looks at the faults of hosts, and at those that are benched.

    :param conf: configuration with the groups ``[scheduler]`` and ``[api]``
    :param send: called with the UUIDs of cases that were given to their hosts
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        liveness: Liveness,
        send: Callable[[Iterable[str]], None],
    ) -> None:
        options = conf.scheduler
        self._least: int = options.health_faults
        self._window = datetime.timedelta(seconds=options.health_window)
        self._pause = datetime.timedelta(seconds=options.health_interval)
        self._timeout: float = conf.api.default_timeout
        self._database = database
        self._liveness = liveness
        self._send = send
        self._tidy_at = time.monotonic() + TIDY

    def sweep(self, now: datetime.datetime) -> None:
        """Bench who has to be, give health cases, and let those go on that passed."""
        since = now - self._window
        for host in self._database.read(health.suspects, since, self._least):
            why = self._database.write(health.bench_if, host, since, self._least, now)
            if why is not None:
                LOG.warning("host %s is benched: %s", host, why)
                audit.record(now, "health:bench", host, why)
        for row in self._database.read(health.benched):
            self._try(row, now)
        if time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + TIDY
            self._database.write(health.purge, since)

    def _try(self, host: Record, now: datetime.datetime) -> None:
        last = self._database.read(health.latest_case, host.host, host.bad_since)
        if last is not None and last.result == Result.PASS:
            if self._database.write(health.pass_case, host.host, host.bad_since):
                why = PASSED.format(last.uuid)
                LOG.info("host %s is not benched any more: %s", host.host, why)
                audit.record(now, "health:clear", host.host, why)
            return
        if (host.bad_since if last is None else last.created_at) + self._pause > now:
            return
        if last is not None and last.state == State.QUEUED:
            # No queue took its command, and nobody gives it to a benched host again.
            self._give_up(last.uuid, now)
        if host.disabled or not self._liveness.is_up(host, now):
            return
        case = self._database.write(health.give_case, host, self._timeout, now, pause=self._pause)
        if case is not None:
            LOG.info("host %s is benched, and is tried with case %s", host.host, case)
            self._send([case])

    def _give_up(self, case: str, now: datetime.datetime) -> None:
        self._database.write(
            attempts.finish,
            [case],
            now,
            states=(State.QUEUED,),
            result=Result.ERROR,
            reason=Reason.EXPIRED,
            detail=UNDELIVERED,
        )
