"""Why cases wait, found out when somebody asks: what is written down would soon be out of date."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from oslo_config import cfg

from labapi.api.backend.keys import ConductorKeys
from labapi.case import State
from labapi.db import hindrances, host_use
from labapi.db.leases import LeaseState
from labapi.db.session import Database, Record
from labapi.rpc import signing
from labapi.scheduler.room import Room
from labapi.servicegroup.driver import Liveness, silence_of

# Conductors of earlier releases wrote such remarks into the rows of cases that wait.
_WRITTEN = "the host is down"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class Waiting:
    """Says in the detail of a case that waits what its host keeps it waiting for.

    :param conf: configuration with the group ``[scheduler]``
    :param keys: what conductors sign with
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        liveness: Liveness,
        keys: ConductorKeys,
    ) -> None:
        self._keys = keys
        self._database = database
        self._liveness = liveness
        self._room = Room(conf, liveness)

    def told(self, cases: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return cases, those that wait for a host with why they do.

        :param cases: their columns
        """
        found = list(cases)
        hosts = {case["host"] for case in found if _waits(case)}
        if not hosts:
            return found
        now = datetime.datetime.now(datetime.UTC)
        rows = {row.host: row for row in self._database.read(hindrances.of, hosts)}
        grouped = [row.host for row in rows.values() if row.grouped]
        groups = self._database.read(host_use.groups, grouped) if grouped else {}
        return [
            {**case, "detail": _detail(case.get("detail"), self._why(case, rows, groups, now))}
            if _waits(case)
            else case
            for case in found
        ]

    def _why(
        self,
        case: dict[str, Any],
        hosts: Mapping[str, Record],
        groups: Mapping[str, Mapping[str, Collection[str]]],
        now: datetime.datetime,
    ) -> str | None:
        host = hosts.get(case["host"])
        if host is None:
            return "the host is not on the list of hosts"
        project = case["project_id"]
        if leased := _leased(host, project):
            return leased
        if host.grouped and not any(project in of for of in groups.get(host.host, {}).values()):
            return "the host is in a group that your project may not use"
        return self._hindrance(host, now)

    def _hindrance(self, host: Record, now: datetime.datetime) -> str | None:
        if host.disabled:
            by = f" by {host.disabled_by}" if host.disabled_by else ""
            why = f": {host.disabled_reason}" if host.disabled_reason else ""
            return f"the host is disabled{by}{why}"
        if not self._liveness.is_up(host, now):
            claimed = "; another agent uses its name, and an operator has to decide"
            return f"the host is down: {silence_of(host)}{claimed if host.disputed_by else ''}"
        keys = self._keys.current()
        if keys and not any(signing.trusts(host.trusted_keys, key) for key in keys):
            return "the host does not trust the conductor's key; an operator has to put that right"
        if host.bad_since is not None:
            return f"the host is benched: {host.bad_reason}"
        if host.active >= host.slots and self._room.of(host, now) == 0:
            return f"the host is full: it has {host.active} cases, and runs {host.slots} at a time"
        return None


def _waits(case: dict[str, Any]) -> bool:
    return bool(case["state"] == State.QUEUED and case["host"])


def _leased(host: Record, project: str | None) -> str | None:
    """Say who has leased a host, if that keeps cases of a project from it."""
    if host.lease_state == LeaseState.ACTIVE and host.leased_to != project:
        return f"the host is leased to another project until {host.lease_ends_at:{_TIME}}"
    if host.lease_state == LeaseState.WAITING:
        whose = "your" if host.leased_to == project else "another"
        return f"the host is about to be leased to {whose} project, once what runs there has ended"
    return None


def _detail(noted: str | None, why: str | None) -> str | None:
    """Join what the row says, such as why the case runs again, and why it waits."""
    if noted and noted.startswith(_WRITTEN):
        noted = None
    return "; ".join(filter(None, (noted, why))) or None
