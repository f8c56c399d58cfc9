"""The claim: cases become their hosts' in a transaction that makes sure that there is room."""

from __future__ import annotations

import datetime
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from oslo_config import cfg
from sqlalchemy import Connection

from labapi.db import groups, host_states, host_use, queue
from labapi.db.session import Database, Record
from labapi.scheduler import host_manager
from labapi.scheduler.driver import Driver
from labapi.scheduler.host_manager import HostManager
from labapi.scheduler.room import Room
from labapi.scheduler.spec import RequestSpec
from labapi.servicegroup.driver import Liveness


class Choice(NamedTuple):
    """A host for a waiting case.

    :ivar request: what the case asks for; None if it names its host
    """

    case: Record
    host: str
    request: RequestSpec | None


class Claimed(NamedTuple):
    """A case that was claimed: what its command is made of."""

    uuid: str
    attempt: str
    host: str
    plugin: str
    method: str
    parameters: Any
    timeout: float
    queue_rank: int
    request_id: str
    created_at: datetime.datetime


@dataclass
class Claims:
    """What came of choices.

    :ivar hosts: ``agent, session`` and more of the chosen hosts, by name
    :ivar refused: the host is not what it was thought to be; another conductor may have been faster
    """

    cases: list[Claimed] = field(default_factory=list)
    hosts: dict[str, Record] = field(default_factory=dict)
    refused: list[Choice] = field(default_factory=list)


class _Done(NamedTuple):
    """What a transaction came to.

    :ivar fit: choices whose hosts had room
    :ivar moved: ids of the cases that were claimed
    :ivar hosts: rows by name
    """

    fit: list[Choice]
    refused: list[Choice]
    moved: set[int]
    hosts: dict[str, Record]
    uses: dict[str, groups.Use]


class Claimer:
    """Claims cases for the hosts that were chosen, as far as these have room when it is certain.

    The transaction locks the hosts, so that nobody else gives them cases until it ends, and looks
    at them again: what is claimed never exceeds what there is.

    :param obeys: says of a row with ``trusted_keys`` whether the host obeys this conductor
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        liveness: Liveness,
        driver: Driver,
        manager: HostManager,
        obeys: Callable[[Record], bool],
    ) -> None:
        self._obeys = obeys
        self._room = Room(conf, liveness)
        self._database = database
        self._driver = driver
        self._manager = manager

    def claim(self, choices: Sequence[Choice], now: datetime.datetime) -> Claims:
        """Claim cases in their order; put right what is known of the chosen hosts.

        :param choices: with requests only while this thread has the states of the manager
        """
        if not choices:
            return Claims()
        token = f"{uuid.uuid4().hex}-"
        try:
            done = self._database.write(self._transact, choices, token, now)
        except BaseException:
            self._manager.expire()  # what was chosen counts there as given
            raise
        moved = [choice for choice in done.fit if choice.case.id in done.moved]
        self._note(done, Counter(choice.host for choice in moved), now)
        cases = [_claimed(choice.case, choice.host, f"{token}{choice.case.id}") for choice in moved]
        return Claims(cases, done.hosts, done.refused)

    def _transact(
        self, connection: Connection, choices: Sequence[Choice], token: str, now: datetime.datetime
    ) -> _Done:
        names = sorted({choice.host for choice in choices})
        hosts = {row.host: row for row in host_states.lock(connection, names)}
        wanted = {choice.host for choice in choices if choice.request is not None}
        uses = uses_of(connection, [row for row in hosts.values() if row.host in wanted])
        taken: Counter[str] = Counter()
        fit: list[Choice] = []
        refused: list[Choice] = []
        for choice in choices:
            row = hosts.get(choice.host)
            if row is not None and self._fits(choice, row, uses, taken[row.host], now):
                taken[row.host] += 1
                fit.append(choice)
            else:
                refused.append(choice)
        named = [choice.case.id for choice in fit if choice.request is None]
        placed: dict[str, list[int]] = defaultdict(list)
        for choice in fit:
            if choice.request is not None:
                placed[choice.host].append(choice.case.id)
        moved = queue.claim(connection, named, placed, token, now) if fit else set()
        return _Done(fit, refused, moved, hosts, uses)

    def _fits(
        self,
        choice: Choice,
        row: Record,
        uses: Mapping[str, groups.Use],
        taken: int,
        now: datetime.datetime,
    ) -> bool:
        """Say whether a host may have a case.

        :param row: the host as it is, now that it is locked
        :param taken: cases that it gets in this transaction before this one
        """
        if not self._obeys(row):
            return False
        if choice.request is None:
            return self._room.of(row, now) > taken and lets_in(row, choice.case.project_id)
        state = self._manager.renewed(row, uses.get(row.host), now)
        if state is None:
            return False
        state.active += taken
        return self._driver.why_not(choice.request, state) is None

    def _note(self, done: _Done, given: Counter[str], now: datetime.datetime) -> None:
        for row in done.hosts.values():
            self._manager.note(row, done.uses.get(row.host), given[row.host], now)
        if any(choice.host not in done.hosts for choice in done.refused):
            self._manager.expire()


def uses_of(connection: Connection, rows: Iterable[Record]) -> dict[str, groups.Use]:
    """Return who may use those of these hosts that are in groups, by their names."""
    grouped = [row.host for row in rows if row.grouped]
    if not grouped:
        return {}
    return {
        host: groups.Use(frozenset(of), frozenset().union(*of.values()))
        for host, of in host_use.groups(connection, grouped).items()
    }


def lets_in(row: Record, project: str | None) -> bool:
    """Say whether neither a lease nor its bench keeps a host from a project's case that names it.

    :param row: the host, as :func:`labapi.db.host_states.lock` returns it
    """
    if row.bad_since is not None:
        return False
    held = host_manager.held_by(row) if row.lease else None
    return held is None or (held.until is not None and held.project_id == project)


def _claimed(case: Record, host: str, attempt: str) -> Claimed:
    return Claimed(
        uuid=case.uuid,
        attempt=attempt,
        host=host,
        plugin=case.plugin,
        method=case.method,
        parameters=case.parameters,
        timeout=case.timeout,
        queue_rank=case.queue_rank,
        request_id=case.request_id,
        created_at=case.created_at,
    )
