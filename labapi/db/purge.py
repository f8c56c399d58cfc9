"""Taking out what is old: cases and plans with all that is theirs, output alone, leases, hosts.

Everything goes in transactions that are short on purpose, since others wait for what they lock: how
many rows the next one takes follows from how long the last one took. A purge that was killed is run
again and goes on. A case that is not finished is never touched.
"""

from __future__ import annotations

import datetime
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, or_, select, update

from labapi.case import State
from labapi.db import former
from labapi.db.leases import LeaseState
from labapi.db.models import (
    Host,
    Lease,
    Notice,
    OutputChunk,
    PlanEntry,
    Service,
    TestCase,
    TestPlan,
)
from labapi.db.services import AGENT
from labapi.db.session import Database

# Seconds that a transaction should take: well below the 50 ms that nobody should have to wait.
GOAL = 0.01
# Rows of one. With fewer, it is the commit that takes the time.
FEWEST_ROWS, MOST_ROWS = 10, 500
# Of so many ids one statement says which are old.
WINDOW = 1000

_BEFORE: Any = bindparam("before")
_IDS: Any = bindparam("ids", expanding=True)
_SPAN = select(
    select(func.min(TestCase.id)).scalar_subquery(),
    # A case does not end before it was made.
    select(TestCase.id)
    .where(TestCase.created_at < _BEFORE)
    .order_by(TestCase.created_at.desc())
    .limit(1)
    .scalar_subquery(),
)
# A plan goes as a whole: until it is old, its cases stay.
_IN_YOUNG_PLAN = exists().where(
    TestPlan.uuid == TestCase.plan,
    or_(TestPlan.finished_at.is_(None), TestPlan.finished_at >= _BEFORE),
)
_OLD = (
    select(TestCase.id)
    .where(
        TestCase.id.between(bindparam("low"), bindparam("high")),
        # Only what is finished has this.
        TestCase.finished_at < _BEFORE,
        or_(TestCase.plan.is_(None), ~_IN_YOUNG_PLAN),
    )
    .order_by(TestCase.id)
)
_WITH_OUTPUT = _OLD.where(exists().where(OutputChunk.testcase_id == TestCase.id))
_SOME_PIECES = (
    select(OutputChunk.testcase_id, OutputChunk.offset)
    .where(OutputChunk.testcase_id.in_(_IDS))
    .order_by(OutputChunk.testcase_id, OutputChunk.offset)
    .limit(bindparam("limit"))
)
_DELETE_PIECES = delete(OutputChunk).where(
    OutputChunk.testcase_id == bindparam("case"), OutputChunk.offset <= bindparam("last")
)
_DELETE_CASES = delete(TestCase).where(TestCase.id.in_(_IDS), TestCase.state == State.FINISHED)
# Output that was removed counts as never sent: it is shown as missing, and no reader waits for it.
_FORGET_OUTPUT = update(TestCase).where(TestCase.id.in_(_IDS)).values(output_sent=0)

_OLD_PLANS = (
    select(TestPlan.id)
    .where(TestPlan.state == State.FINISHED, TestPlan.finished_at < _BEFORE)
    .order_by(TestPlan.id)
)
_SOME_ENTRIES = (
    select(PlanEntry.id).where(PlanEntry.plan_id == bindparam("plan")).limit(bindparam("limit"))
)
_DELETE_ENTRIES = delete(PlanEntry).where(PlanEntry.id.in_(_IDS))

# An ended lease holds no host, and stays ended.
_OLD_LEASES = (
    select(Lease.id)
    .where(Lease.state == LeaseState.ENDED, Lease.ended_at < _BEFORE)
    .order_by(Lease.id)
)

_UNFINISHED = exists().where(TestCase.state != State.FINISHED, TestCase.host == Host.host)
_SILENT = func.coalesce(Service.last_seen_at, Host.created_at) < _BEFORE
_SILENT_HOSTS = (
    select(Host.host)
    .outerjoin(Service, (Service.host == Host.host) & (Service.binary == AGENT))
    # What an operator has disabled, or somebody has leased, stays as it is.
    .where(_SILENT, or_(Service.disabled.is_(None), ~Service.disabled), Host.lease_id.is_(None))
)


@dataclass
class Old:
    """Which cases are old.

    :ivar before: they were finished before this time
    :ivar result: they have this result, None for any
    """

    before: datetime.datetime
    result: str | None = None


@dataclass
class Progress:
    """How far a purge is.

    :ivar removed: rows so far: cases, pieces of output, or leases
    :ivar share: of the way through the ids of all old cases, from 0 to 1
    :ivar longest: seconds that the longest transaction took
    """

    removed: int = 0
    share: float = 0.0
    longest: float = 0.0


class Purge:
    """One purge.

    :param told: is called after each transaction
    :param stopping: ends the purge, after the transaction at hand, when it becomes true
    """

    def __init__(
        self,
        database: Database,
        told: Callable[[Progress], object] = lambda _: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._database = database
        self._told = told
        self._stopping = stopping
        self._rows: dict[Any, int] = defaultdict(lambda: FEWEST_ROWS)
        self.progress = Progress()

    def cases(self, old: Old) -> int:
        """Delete old cases with all that belongs to them, and old plans; return how many cases.

        Where only cases with one result go, those of plans stay.
        """
        for ids in self._windows(_OLD, old):
            self._delete_output(ids)
            self._delete(_delete_cases, ids)
        if old.result is None:
            self._plans(old.before)
        return self.progress.removed

    def output(self, old: Old) -> int:
        """Delete the output of old cases, which stay; return how many pieces."""
        for ids in self._windows(_WITH_OUTPUT, old):
            self.progress.removed += self._delete_output(ids)
        return self.progress.removed

    def leases(self, before: datetime.datetime) -> int:
        """Delete the leases that ended before this time; return how many."""
        self._delete(_delete_leases, self._database.read(old_leases, before))
        return self.progress.removed

    def _plans(self, before: datetime.datetime) -> None:
        """Delete old plans with their entries and notices; their cases have gone before."""
        for plan in self._database.read(_old_plans, before):
            while not self._stopping():
                entries = self._database.read(_some_entries, plan, self._rows[_delete_entries])
                if not entries:
                    self._timed(_delete_plans, [plan])
                    break
                self._timed(_delete_entries, entries)

    def _windows(self, query: Any, old: Old) -> Iterator[list[int]]:
        for ids, share in windows(self._database, query, old):
            if self._stopping():
                return
            self.progress.share = share
            if ids:
                yield ids

    def _delete(self, change: Callable[[Connection, Any], int], ids: Sequence[int]) -> None:
        """Delete rows, some in each transaction."""
        while ids and not self._stopping():
            count = self._rows[change]
            some, ids = ids[:count], ids[count:]
            self.progress.removed += self._timed(change, some)

    def _delete_output(self, ids: list[int]) -> int:
        removed = 0
        while not self._stopping():
            pieces = self._database.read(_some_pieces, ids, self._rows[_delete_pieces])
            if not pieces:
                break
            removed += self._timed(_delete_pieces, pieces)
        return removed

    def _timed(self, change: Callable[[Connection, Any], int], rows: Sequence[Any]) -> int:
        """Change rows in a transaction, and choose the size of the next one."""
        began = time.monotonic()
        done = self._database.write(change, rows)
        took = time.monotonic() - began
        wanted = len(rows) * GOAL / max(took, 0.0001)
        self._rows[change] = int(max(FEWEST_ROWS, min(wanted, 2 * len(rows), MOST_ROWS)))
        self.progress.longest = max(self.progress.longest, took)
        self._told(self.progress)
        time.sleep(took)  # half of the time is for the others
        return done


def windows(database: Database, query: Any, old: Old) -> Iterator[tuple[list[int], float]]:
    """Yield the ids of old cases, and which share of the way they are on."""
    first, last = database.read(lambda c: c.execute(_SPAN, {"before": old.before}).one())
    if first is None or last is None:
        return
    if old.result is not None:
        query = query.where(TestCase.result == old.result, TestCase.plan.is_(None))
    for low in range(first, last + 1, WINDOW):
        high = min(low + WINDOW - 1, last)
        values = {"low": low, "high": high, "before": old.before}
        ids = database.read(lambda c, v=values: c.execute(query, v).scalars().all())
        yield list(ids), (high - first + 1) / (last - first + 1)


def old_cases(database: Database, old: Old, *, with_output: bool = False) -> int:
    """Count old cases, all of them or those that have output."""
    query = _WITH_OUTPUT if with_output else _OLD
    return sum(len(ids) for ids, _ in windows(database, query, old))


def old_leases(connection: Connection, before: datetime.datetime) -> Sequence[int]:
    """Return the ids of the leases that ended before this time."""
    return connection.execute(_OLD_LEASES, {"before": before}).scalars().all()


def silent_hosts(connection: Connection, before: datetime.datetime) -> list[str]:
    """Return the hosts that were not heard of since then and have nothing to finish."""
    found = connection.execute(_SILENT_HOSTS.where(~_UNFINISHED), {"before": before})
    return list(found.scalars())


def silent_services(connection: Connection, before: datetime.datetime) -> list[int]:
    """Return the ids of other services than agents that were not heard of since then."""
    query = select(Service.id).where(Service.binary != AGENT, Service.last_seen_at < _BEFORE)
    return list(connection.execute(query, {"before": before}).scalars())


def delete_host(connection: Connection, host: str, before: datetime.datetime | None = None) -> bool:
    """Take a host off the list, and its agent's service; its cases keep its name and its guard.

    :param before: only if it is silent since then, as :func:`silent_hosts` has it
    :returns: whether it was on the list
    """
    if before is not None:
        # Locked, for it may come back at this moment.
        held = _SILENT_HOSTS.where(~_UNFINISHED, Host.host == host).with_for_update()
        if connection.execute(held, {"before": before}).first() is None:
            return False
    former.keep(connection, host)
    connection.execute(delete(Service).where(Service.host == host, Service.binary == AGENT))
    return bool(connection.execute(delete(Host).where(Host.host == host)).rowcount)


def delete_service(connection: Connection, service: int, before: datetime.datetime) -> bool:
    """Delete a service if it is silent since then."""
    gone = delete(Service).where(Service.id == service, Service.last_seen_at < before)
    return bool(connection.execute(gone).rowcount)


def hosts(database: Database, before: datetime.datetime) -> int:
    """Delete silent hosts and services, each by itself; return how many hosts."""
    for service in database.read(silent_services, before):
        database.write(delete_service, service, before)
    silent = database.read(silent_hosts, before)
    return sum(database.write(delete_host, host, before) for host in silent)


def _some_pieces(connection: Connection, ids: list[int], limit: int) -> Sequence[Any]:
    return connection.execute(_SOME_PIECES, {"ids": ids, "limit": limit}).all()


def _delete_pieces(connection: Connection, pieces: Iterable[Any]) -> int:
    """Delete pieces, which are in order, and note that they are gone."""
    last = {piece.testcase_id: piece.offset for piece in pieces}
    connection.execute(_FORGET_OUTPUT, {"ids": list(last)})
    rows = [{"case": case, "last": offset} for case, offset in last.items()]
    connection.execute(_DELETE_PIECES, rows)
    return len(list(pieces))


def _delete_cases(connection: Connection, ids: Sequence[int]) -> int:
    return int(connection.execute(_DELETE_CASES, {"ids": ids}).rowcount)


def _delete_leases(connection: Connection, ids: Sequence[int]) -> int:
    return int(connection.execute(delete(Lease).where(Lease.id.in_(ids))).rowcount)


def _old_plans(connection: Connection, before: datetime.datetime) -> Sequence[int]:
    return connection.execute(_OLD_PLANS, {"before": before}).scalars().all()


def _some_entries(connection: Connection, plan: int, limit: int) -> Sequence[int]:
    return connection.execute(_SOME_ENTRIES, {"plan": plan, "limit": limit}).scalars().all()


def _delete_entries(connection: Connection, ids: Sequence[int]) -> int:
    return int(connection.execute(_DELETE_ENTRIES, {"ids": ids}).rowcount)


def _delete_plans(connection: Connection, ids: Sequence[int]) -> int:
    connection.execute(delete(Notice).where(Notice.plan_id.in_(ids)))
    return int(connection.execute(delete(TestPlan).where(TestPlan.id.in_(ids))).rowcount)
