"""Saying in the log that a host is down, and that it is up again: each once."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence

from oslo_log import log

from labapi.conductor.meters import Meters
from labapi.db import backlog, hosts, queue, services
from labapi.db.session import Database, Record
from labapi.servicegroup.driver import Liveness, silence_of

LOG = log.getLogger(__name__)

PACE = datetime.timedelta(seconds=5)  # between looks: each reads the services of all hosts
MANY = 20  # hosts that go or come together, beyond which one line tells of all


class Watch:
    """Compares which hosts are down with which were.

    :param is_down: judges a row with ``host``, ``last_seen_at`` and ``stopped``
    """

    def __init__(
        self,
        database: Database,
        liveness: Liveness,
        is_down: Callable[[Record, datetime.datetime], bool],
        meters: Meters,
    ) -> None:
        self._meters = meters
        self._database = database
        self._liveness = liveness
        self._is_down = is_down
        self._down: set[str] | None = None
        self._looked: datetime.datetime | None = None

    def look(self, now: datetime.datetime) -> None:
        """Look, unless that was done a moment ago."""
        if self._looked is not None and abs(now - self._looked) < PACE:
            return
        self._looked = now
        silent = now - datetime.timedelta(seconds=self._liveness.down_time)
        rows = self._database.read(services.silent, silent)
        down = {row.host: row for row in rows if self._is_down(row, now)}
        if self._meters.on:
            self._measure(len(down), now)
        if self._down is None:  # what was before is told by the log from before
            self._down = set(down)
            if down:
                LOG.info("hosts that are down: %d (%s)", len(down), _first(down))
            return
        fell = [row for host, row in down.items() if host not in self._down]
        self._tell_down(fell)
        self._down.update(down)
        self._look_for_return(self._down - down.keys(), now)

    def _measure(self, down: int, now: datetime.datetime) -> None:
        found = self._database.read(backlog.look)
        self._meters.plans(found.plans)
        self._meters.hosts(found.hosts - down, down)
        age = (now - found.since).total_seconds() if found.since else 0.0
        self._meters.waiting(found.cases, max(0.0, age))

    def _tell_down(self, rows: Sequence[Record]) -> None:
        if len(rows) > MANY:
            LOG.warning("%d hosts are down: %s", len(rows), _first(row.host for row in rows))
            return
        cases = self._cases([row.host for row in rows])
        for row in rows:
            says = LOG.info if row.stopped else LOG.warning
            says(
                "host %s is down: %s; cases that it has: %d",
                row.host,
                silence_of(row),
                cases.get(row.host, 0),
            )

    def _look_for_return(self, missing: set[str], now: datetime.datetime) -> None:
        """Tell of those that are up; one that is off the list is forgotten."""
        if not missing or self._down is None:
            return
        rows = self._database.read(hosts.heard, missing)
        up = [row.host for row in rows if self._liveness.is_up(row, now)]
        self._down -= missing - {row.host for row in rows if row.host not in up}
        if len(up) > MANY:
            LOG.info("%d hosts are up again: %s", len(up), _first(up))
            return
        cases = self._cases(up)
        for host in up:
            LOG.info("host %s is up again; cases that it has: %d", host, cases.get(host, 0))

    def _cases(self, names: Sequence[str]) -> dict[str, int]:
        return self._database.read(queue.load, names) if names else {}


def _first(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:MANY]) + (", …" if len(found) > MANY else "")
