"""The hosts as the database has them, kept for one process's decisions.

What is kept only says where to look: it may be some seconds old, and whoever gives a case to a host
makes sure in the database. Reading takes a third of a second with 10,000 hosts, so it is done only
when somebody asks, not oftener than every ``[scheduler] refresh_interval`` seconds, and never for
more than a twentieth of the time.
"""

from __future__ import annotations

import dataclasses
import datetime
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from oslo_config import cfg
from sqlalchemy import Connection

from labapi.db import groups, services
from labapi.db import host_states as queries
from labapi.db.leases import LeaseState
from labapi.db.session import Database, Record
from labapi.scheduler.host_state import HeldBy, HostState
from labapi.scheduler.host_states import HostStates
from labapi.servicegroup.driver import Liveness

SHARE = 1 / 20  # of the time, at most, is spent on reading
TOGETHER = 500  # catalogues that are read by one statement
FACTS = 2000  # services whose facts are read by one refresh, the next ones by the next
EVERYBODY = groups.Use(frozenset(), frozenset())
EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)


class _Wide(NamedTuple):
    """What changes seldom of a host, and when it had changed last."""

    changed_at: datetime.datetime | None
    plugins: str
    metadata: dict[str, str]


@dataclass
class _Read:
    """What one look at the database comes to; dicts are by the names of hosts."""

    rows: list[Record]
    wide: dict[int, _Wide]
    facts: dict[str, dict[str, Any]]
    active: dict[str, int]
    faults: dict[str, int]
    uses: dict[str, groups.Use]
    distrusting: set[int]
    held: dict[int, HeldBy] = field(default_factory=dict)


class HostManager:
    """Keeps the states of all hosts; safe to use from several threads.

    :param conf: configuration with the group ``[scheduler]``
    :param obeys: says of a row with ``trusted_keys`` whether the host obeys this process; else it
        is as good as down
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        liveness: Liveness,
        obeys: Callable[[Record], bool] = lambda _: True,
    ) -> None:
        self._obeys = obeys
        self._interval: float = conf.scheduler.refresh_interval
        self._faults_window = datetime.timedelta(seconds=conf.scheduler.health_window)
        self._database = database
        self._liveness = liveness
        self._lock = threading.RLock()
        self._states = HostStates()
        self._wide: dict[int, _Wide] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._next_facts = 0
        self._read_at = EPOCH
        self._due = self._earliest = 0.0  # on the monotonic clock

    @contextmanager
    def hosts(
        self, now: datetime.datetime, *, since: datetime.datetime = EPOCH
    ) -> Iterator[HostStates]:
        """Lend the states of all hosts; nobody else of this process has them meanwhile.

        :param since: read again, if it may be, what was read before this time
        :raises DatabaseUnavailable: the database is away
        """
        with self._lock:
            moment = time.monotonic()
            if moment >= self._due or (self._read_at < since and moment >= self._earliest):
                self._refresh(now)
            yield self._states

    @property
    def read_at(self) -> datetime.datetime:
        """When the states were read last."""
        return self._read_at

    def expire(self) -> None:
        """Have the states read again as soon as they may be: something was wrong with them."""
        self._due = self._earliest

    def renewed(
        self, row: Record, use: groups.Use | None, now: datetime.datetime
    ) -> HostState | None:
        """Return a host as a row that was just read has it; for who has the states.

        :param row: as :func:`labapi.db.host_states.lock` returns it
        :param use: who may use it; None if it is in no group, or if that was not read
        :returns: None if its catalogue or its metadata have changed since they were read
        """
        wide, known = self._wide.get(row.id), self._states.get(row.id)
        if wide is None or known is None or wide.changed_at != row.changed_at:
            return None
        if use is None:
            use = groups.Use(known.groups, known.open_to) if row.grouped else EVERYBODY
        return dataclasses.replace(
            known,
            slots=row.slots,
            active=row.active,
            up=self._is_up(row, now),
            disabled=bool(row.disabled),
            bad=_bad(row),
            zone=row.zone or "lab",
            facts=row.facts if isinstance(row.facts, dict) else {},
            groups=use.groups,
            open_to=use.projects,
            held_by=held_by(row) if row.lease else None,
        )

    def note(self, row: Record, use: groups.Use | None, given: int, now: datetime.datetime) -> None:
        """Take note of a host as it was read for a claim.

        :param row: as for :meth:`renewed`
        :param use: as for :meth:`renewed`
        :param given: cases that the claim gave to it
        """
        with self._lock:
            state = self.renewed(row, use, now)
            if state is None:
                self.expire()
                return
            state.active += given
            if state != self._states.get(row.id):
                self._states.add(state)

    def count(self, hosts: Mapping[str, int]) -> None:
        """Take note that hosts have so many cases more, or fewer, than they had."""
        with self._lock:
            for name, more in hosts.items():
                state = self._states.named(name)
                if state is not None and more:
                    self._states.count(state, more)

    def _is_up(self, row: Record, now: datetime.datetime) -> bool:
        heard = row.service is not None and self._liveness.is_up(row, now)
        return heard and self._obeys(row)

    def _refresh(self, now: datetime.datetime) -> None:
        began = time.monotonic()
        read = self._database.read(self._read, now)
        self._wide, self._facts = read.wide, read.facts
        here = {row.id for row in read.rows}
        for gone in [state.id for state in self._states if state.id not in here]:
            self._states.remove(gone)
        for row in read.rows:
            state = _state(row, read, up=self._is_up(row, now))
            if state != self._states.get(row.id):
                self._states.add(state)
        self._read_at = now
        ended = time.monotonic()
        self._earliest = ended + (ended - began) / SHARE
        self._due = max(self._earliest, ended + self._interval)

    def _read(self, connection: Connection, now: datetime.datetime) -> _Read:
        listed = list(queries.every(connection))
        wide = self._read_wide(connection, listed)
        # One that was removed since the first statement has no wide row.
        rows = [row for row in listed if row.id in wide]
        read = _Read(
            rows,
            wide,
            self._read_facts(connection, rows),
            queries.active(connection),
            queries.faults(connection, now - self._faults_window),
            groups.use(connection),
            self._read_distrusting(connection, now),
        )
        held = {row.lease_id for row in rows if row.lease_id is not None}
        if held:
            read.held = {row.id: held_by(row) for row in queries.leases(connection, held)}
        return read

    def _read_distrusting(self, connection: Connection, now: datetime.datetime) -> set[int]:
        keys = services.signing_keys(connection, now, self._liveness.down_time)
        return queries.distrusting(connection, keys) if keys else set()

    def _read_wide(self, connection: Connection, rows: list[Record]) -> dict[int, _Wide]:
        known = {row.id: self._wide.get(row.id) for row in rows}
        moved = {
            row.id: row.changed_at
            for row in rows
            if (wide := known[row.id]) is None or wide.changed_at != row.changed_at
        }
        found = {host: wide for host, wide in known.items() if wide is not None}
        ids = list(moved)
        for start in range(0, len(ids), TOGETHER):
            for row in queries.wide(connection, ids[start : start + TOGETHER]):
                # Hosts that announce the same share one text.
                plugins = sys.intern(row.plugins or "{}")
                found[row.id] = _Wide(moved[row.id], plugins, row.meta or {})
        return found

    def _read_facts(self, connection: Connection, rows: list[Record]) -> dict[str, dict[str, Any]]:
        """Read the facts of some agents, and keep what is known of the others."""
        agents = sorted(row.service for row in rows if row.service is not None)
        if not agents:
            return {}
        known = {row.host: self._facts.get(row.host, {}) for row in rows}
        start = self._next_facts if self._next_facts < len(agents) else 0
        # All that is not known yet is read at the first look.
        count = len(agents) if not self._facts else FACTS
        some = agents[start : start + count]
        self._next_facts = start + count
        told = queries.facts(connection, some[0], some[-1])
        return known | {row.host: row.facts for row in told if isinstance(row.facts, dict)}


def held_by(row: Record) -> HeldBy:
    """Return the lease that a row tells of, with its end only if it has begun."""
    begun = row.lease_state == LeaseState.ACTIVE
    return HeldBy(row.lease, row.lease_project, row.ends_at if begun else None)


def _bad(row: Record) -> str | None:
    return None if row.bad_since is None else row.bad_reason or ""


def _state(row: Record, read: _Read, *, up: bool) -> HostState:
    wide, use = read.wide[row.id], read.uses.get(row.host, EVERYBODY)
    return HostState(
        id=row.id,
        uuid=row.uuid,
        host=row.host,
        plugins=wide.plugins,
        slots=row.slots,
        active=read.active.get(row.host, 0),
        up=up,
        trusts=row.id not in read.distrusting,
        disabled=bool(row.disabled),
        bad=_bad(row),
        zone=row.zone or "lab",
        metadata=wide.metadata,
        facts=read.facts.get(row.host, {}),
        groups=use.groups,
        open_to=use.projects,
        held_by=read.held.get(row.lease_id) if row.lease_id is not None else None,
        faults=read.faults.get(row.host, 0),
    )
