"""Moves leases on: they find hosts, begin once others' cases have ended, and end in time.

Any number of conductors do it at once, and may be killed at any point: what is to be done follows
from the database, and each move is one transaction that looks again.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec
from oslo_config import cfg
from oslo_log import log

from labapi.db import leases
from labapi.db.leases import LeaseState
from labapi.db.session import Database, Record
from labapi.exceptions import Conflict, InvalidInput
from labapi.scheduler import driver, spec
from labapi.scheduler.host_manager import HostManager
from labapi.scheduler.spec import RequestSpec

LOG = log.getLogger(__name__)

BY_TIME = "labapi: its time was over"
BY_PATIENCE = "labapi: it could not begin in time"
BY_BAD_DATA = "labapi: what it asks of its hosts cannot be read: "
MAX_BY = 255  # characters of who ended a lease
# Leases that one sweep looks for hosts for: each look asks about all hosts. Projects take turns, so
# that one whose leases nothing fits keeps nobody else waiting.
LOOKED_FOR = 20
# How full a host is does not matter: what runs there ends.
ANY_ROOM = 1_000_000


class Leases:
    """Looks at all leases that have not ended.

    :param conf: configuration with the group ``[scheduler]``
    """

    def __init__(self, conf: cfg.ConfigOpts, database: Database, hosts: HostManager) -> None:
        self._longest = datetime.timedelta(seconds=conf.scheduler.max_lease)
        self._database = database
        self._hosts = hosts
        self._driver = driver.load(conf)

    def sweep(self, now: datetime.datetime) -> None:
        """Move on what can be, oldest first."""
        homeless = []
        for lease in self._database.read(leases.open_leases):
            if lease.ends_at is not None and lease.ends_at <= now:
                self._end(lease, now, BY_TIME)
            elif lease.state != LeaseState.WAITING:
                continue
            elif lease.created_at + self._longest <= now:
                self._end(lease, now, BY_PATIENCE)
            elif lease.hosts is None:
                homeless.append(lease)
            elif self._database.write(leases.begin, lease.id, now):
                LOG.info("lease %s begins", lease.uuid)
        if homeless:
            self._find_hosts(_some(homeless), now)

    def _find_hosts(self, waiting: list[Record], now: datetime.datetime) -> None:
        """Give hosts to leases that name none, each all of its own or none.

        A younger one is given no host that an older one could use: it would never have enough.
        """
        wanted: set[str] = set()
        for lease, request in self._readable(waiting, now):
            able = [host for host in self._able(request, now) if host not in wanted]
            chosen = able[: lease.wanted]
            wanted.update(chosen)
            if len(chosen) == lease.wanted:
                self._assign(lease, chosen, now)

    def _readable(
        self, waiting: Iterable[Record], now: datetime.datetime
    ) -> Iterator[tuple[Record, RequestSpec]]:
        """Yield leases with what they ask for; one that cannot be read ends.

        It would fail at each look, and the others with it.
        """
        for lease in waiting:
            try:
                request = _request(lease)
            except (msgspec.ValidationError, InvalidInput) as error:
                self._end(lease, now, f"{BY_BAD_DATA}{error}"[:MAX_BY], log.ERROR)
            else:
                yield lease, request

    def _able(self, request: RequestSpec, now: datetime.datetime) -> list[str]:
        """Return the names of hosts that a lease may take, best first."""
        with self._hosts.hosts(now) as states:
            found = self._driver.explain(request, states).hosts
            return [host.host for host in found if host.held_by is None]

    def _assign(self, lease: Record, hosts: list[str], now: datetime.datetime) -> None:
        try:
            if self._database.write(leases.assign, lease.id, hosts, now):
                LOG.info("lease %s has hosts: %s", lease.uuid, ", ".join(hosts))
        except Conflict as error:
            LOG.debug("lease %s goes on waiting: %s", lease.uuid, error)
        self._hosts.expire()  # there the hosts are still free, or somebody was faster

    def _end(self, lease: Record, now: datetime.datetime, by: str, level: int = log.INFO) -> None:
        if self._database.write(leases.end, lease.id, now, by, seen=lease) is not None:
            LOG.log(level, "lease %s has ended (%s)", lease.uuid, by)


def _request(lease: Record) -> RequestSpec:
    """Return what a lease asks of its hosts.

    :raises msgspec.ValidationError: its placement cannot be read
    :raises InvalidInput: one of its sentences cannot
    """
    request = RequestSpec(
        project_id=lease.project_id, placement=spec.read(lease.placement), ahead=ANY_ROOM
    )
    _ = request.requires, request.prefers  # they are read here, or by the filters
    return request


def _some(leases: Iterable[Record]) -> list[Record]:
    """Return as many leases as one sweep looks for hosts for, oldest first.

    :param leases: oldest first
    """
    before: Counter[str | None] = Counter()
    turns: list[tuple[int, Record]] = []
    for lease in leases:
        turns.append((before[lease.project_id], lease))
        before[lease.project_id] += 1
    turns.sort(key=lambda turn: turn[0])
    return sorted((lease for _, lease in turns[:LOOKED_FOR]), key=lambda lease: lease.id)
