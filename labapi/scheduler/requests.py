"""What waiting cases ask for, as the scheduler wants to know it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from labapi.db import queue
from labapi.db.session import Database, Record
from labapi.scheduler import spec
from labapi.scheduler.spec import RequestSpec


class Requests:
    """Makes requests of rows; what other cases say for them is read once for all."""

    def __init__(self, database: Database, cases: Collection[Record]) -> None:
        self._placements = {case.id: spec.read(case.placement) for case in cases}
        others = {
            other
            for placement in self._placements.values()
            for other in (*placement.same_host_as, *placement.different_host_from)
        }
        batches = {case.batch for case in cases if case.host is None and case.batch is not None}
        self._hosts = database.read(queue.hosts_of, others) if others else {}
        self._batches = database.read(queue.batch_hosts, batches) if batches else {}

    def of(self, case: Record, ahead: int) -> RequestSpec:
        """Return what a case asks for.

        :param ahead: cases beyond its slots that a host may be given for it
        """
        placement = self._placements[case.id]
        return RequestSpec(
            case=case.uuid,
            plugin=case.plugin,
            method=case.method,
            parameters=case.parameters,
            project_id=case.project_id,
            placement=placement,
            tried=frozenset(case.tried_hosts or ()),
            same_hosts=self._same(placement.same_host_as),
            different_hosts=self._known(placement.different_host_from),
            batch_hosts=dict(self._batches.get(case.batch, {})),
            ahead=ahead,
        )

    def note(self, case: Record, host: str) -> None:
        """Take note of where a case of a batch goes, for the next ones."""
        if case.batch is not None:
            given = self._batches.setdefault(case.batch, {})
            given[host] = given.get(host, 0) + 1

    def _same(self, cases: Collection[str]) -> frozenset[str] | None:
        """Return the hosts of cases; none before all of them have one, None if there are none."""
        if not cases:
            return None
        return self._known(cases) if all(case in self._hosts for case in cases) else frozenset()

    def _known(self, cases: Iterable[str]) -> frozenset[str]:
        return frozenset(self._hosts[case] for case in cases if case in self._hosts)


def shape(request: RequestSpec) -> bytes:
    """Return what is equal for requests that the same hosts will do for."""
    return msgspec.json.encode(msgspec.structs.replace(request, case=""))
