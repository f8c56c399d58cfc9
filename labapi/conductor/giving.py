"""Adding cases from within a conductor, given to the hosts that they name as they are made."""

from __future__ import annotations

import datetime
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oslo_config import cfg
from sqlalchemy import Connection

from labapi.conductor import claims
from labapi.conductor.claims import Claimed
from labapi.db import groups, host_states, testcases
from labapi.db.at_once import WAITS, given
from labapi.db.session import Record
from labapi.scheduler.room import Room
from labapi.servicegroup.driver import Liveness


@dataclass
class Added:
    """Cases that were added.

    :ivar given: those whose hosts were given them
    :ivar hosts: rows of hosts by name, as :func:`labapi.db.host_states.lock` returns them
    :ivar waiting: the columns of the others
    """

    given: list[Claimed] = field(default_factory=list)
    hosts: dict[str, Record] = field(default_factory=dict)
    waiting: list[Mapping[str, Any]] = field(default_factory=list)


class Giving:
    """Adds cases; gives a host what it has room for, unless something waits that may want it.

    It saves the transaction in which the cases would be claimed.

    :param obeys: says of a row with ``trusted_keys`` whether the host obeys this conductor
    """

    def __init__(
        self, conf: cfg.ConfigOpts, liveness: Liveness, obeys: Callable[[Record], bool]
    ) -> None:
        self._room = Room(conf, liveness)
        self._obeys = obeys

    def add(
        self, connection: Connection, cases: Sequence[Mapping[str, Any]], now: datetime.datetime
    ) -> Added:
        """Add cases in a transaction, which keeps their hosts locked until it ends.

        :param cases: columns as :func:`labapi.db.testcases.create` takes them, those of ``WAITS``
            left out
        """
        added = Added()
        room = self._room_on(connection, cases, added, now)
        uses = claims.uses_of(connection, [added.hosts[name] for name in room])
        token, rows = uuid.uuid4().hex, []
        for number, case in enumerate(cases):
            host = case["host"]
            if room[host] > 0 and _may_run(case, added.hosts[host], uses.get(host)):
                room[host] -= 1
                attempt = f"{token}-{number}"
                rows.append({**case, **given(now, attempt)})
                added.given.append(_claimed(case, attempt))
            else:
                rows.append({**case, **WAITS})
                added.waiting.append(case)
        testcases.add(connection, rows)
        return added

    def _room_on(
        self,
        connection: Connection,
        cases: Sequence[Mapping[str, Any]],
        added: Added,
        now: datetime.datetime,
    ) -> Counter[str]:
        """Lock the hosts that cases name, and return how many cases each can take."""
        names = {case["host"] for case in cases if case["host"] is not None}
        if not names:
            return Counter()
        added.hosts = {row.host: row for row in host_states.lock(connection, names)}
        rows = [row for row in added.hosts.values() if not row.wanted and self._obeys(row)]
        return Counter({row.host: self._room.of(row, now) for row in rows})


def _may_run(case: Mapping[str, Any], host: Record, use: groups.Use | None) -> bool:
    """Say whether neither a lease, a group nor its bench keeps a host from a case."""
    project = case["project_id"]
    return claims.lets_in(host, project) and (use is None or project in use.projects)


def _claimed(case: Mapping[str, Any], attempt: str) -> Claimed:
    values = {name: case[name] for name in Claimed._fields if name != "attempt"}
    return Claimed(attempt=attempt, **values)
