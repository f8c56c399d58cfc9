"""How hosts look from outside."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from labapi.case import Reason
from labapi.db.removal import Removed
from labapi.db.session import Record
from labapi.rpc import signing
from labapi.scheduler import catalogue
from labapi.servicegroup.driver import Liveness


class Brief(msgspec.Struct, gc=False):
    """A host in the short list."""

    id: int
    host: str


class Caller(NamedTuple):
    """What a caller may see of other projects.

    :ivar project_id: the caller's own project
    :ivar sees_all: nothing is hidden from it
    """

    project_id: str | None
    sees_all: bool

    def may_see(self, project_id: str | None) -> bool:
        """Say whether the caller may see what is this project's."""
        return self.sees_all or project_id == self.project_id


class Use(NamedTuple):
    """Who uses a host, as a caller may see it: names and times."""

    groups: list[str]
    lease: dict[str, Any] | None
    running: list[dict[str, Any]]


UNUSED = Use([], None, [])


class Host(msgspec.Struct, gc=False):
    """All that is known of a host; the last fields are left out where they say nothing.

    :ivar compute_node_type: its plugins, separated by commas
    :ivar compute_node_method: ``{plugin: {method: description}}`` as JSON
    :ivar claimed: another agent uses its name
    :ivar trusts_conductors: its agent obeys every conductor
    :ivar problem: why its plugins cannot be read
    :ivar bad_since: where it is benched
    :ivar facts: where it is shown alone, and so is ``uuid``
    """

    id: int
    host: str
    address: str | None
    compute_node_type: str
    compute_node_method: msgspec.Raw
    state: str
    status: str
    health: str
    claimed: bool
    trusted_keys: Any
    trusts_conductors: bool
    metadata: Any
    last_seen: datetime.datetime | None
    slots: int
    release: str
    zone: str | None
    groups: list[str]
    lease: dict[str, Any] | None
    running: list[dict[str, Any]]
    problem: str | UnsetType = UNSET
    bad_since: datetime.datetime | UnsetType = UNSET
    bad_reason: str | UnsetType | None = UNSET
    facts: Any = UNSET
    uuid: str | UnsetType = UNSET


def detail(
    host: Record,
    announced: catalogue.Catalogue,
    now: datetime.datetime,
    liveness: Liveness,
    keys: Collection[str | None],
    used: Use = UNUSED,
) -> Host:
    """Return all that is known of a host but its UUID and its facts.

    :param announced: its plugins
    :param now: the time that tells whether it is up
    :param keys: short names of the keys that conductors sign with
    """
    trusted = host.trusted_keys
    shown = Host(
        host.id,
        host.host,
        host.address,
        announced.names,
        announced.descriptions,
        "up" if liveness.is_up(host, now) else "down",
        "disabled" if host.disabled else "enabled",
        "good" if host.bad_since is None else "bad",
        host.disputed_by is not None,
        trusted,
        trusted is None or all(signing.trusts(trusted, key) for key in keys),
        host.meta,
        host.last_seen_at,
        host.slots,
        host.release,
        host.zone,
        used.groups,
        used.lease,
        used.running,
    )
    if announced.problem is not None:
        shown.problem = announced.problem
    if host.bad_since is not None:
        shown.bad_since, shown.bad_reason = host.bad_since, host.bad_reason
    return shown


def removed(host: str, what: Removed) -> dict[str, Any]:
    """Return what the removal of a host has come to, and what is left to do."""
    return {
        "host": host,
        "ended": {
            Reason.HOST_REMOVED: len(what.waiting),
            Reason.AGENT_LOST: len(what.active),
        },
        "left": "the message broker keeps the host's user and queues, and its agent comes back on"
        f" the list if it is started; to end that: labapi-manage agent remove {host} --apply",
    }


def use(
    groups: Mapping[str, set[str]],
    lease: Record | None,
    cases: Sequence[Record],
    caller: Caller,
) -> Use:
    """Return who uses a host.

    :param groups: ``{group: projects that may use it}``
    :param lease: that holds it
    :param cases: that it was given and that are not finished, as :func:`running` takes them
    :param caller: what is of other projects is shown without its name
    """
    mine = [name for name, of in groups.items() if caller.sees_all or caller.project_id in of]
    held = None if lease is None else _lease(lease, caller)
    return Use(mine, held, [running(case, caller) for case in cases])


def running(case: Record, caller: Caller) -> dict[str, Any]:
    """Return what is known of a case that a host was given.

    :param case: with ``uuid, project_id, started_at, timeout``
    """
    visible = caller.may_see(case.project_id)
    return {
        "case": case.uuid if visible else None,
        "project_id": case.project_id if visible else None,
        "until": until_at_most(case),
    }


def until_at_most(case: Record) -> datetime.datetime | None:
    """Return when the method of a case is ended at the latest, None if it has not begun."""
    if case.started_at is None:
        return None
    end: datetime.datetime = case.started_at + datetime.timedelta(seconds=case.timeout)
    return end


def _lease(lease: Record, caller: Caller) -> dict[str, Any]:
    """Return what is known of the lease of a host.

    :param lease: with ``lease`` (UUID), ``lease_project, ends_at``
    """
    visible = caller.may_see(lease.lease_project)
    return {
        "id": lease.lease if visible else None,
        "project_id": lease.lease_project if visible else None,
        "until": lease.ends_at,
    }


def health(host: Record) -> dict[str, Any]:
    """Return whether a host is benched, since when, and why."""
    return {"health": "good", "bad_since": None, "bad_reason": None} | (
        {} if host.bad_since is None else {"health": "bad", **_bad(host)}
    )


def _bad(host: Record) -> dict[str, Any]:
    return {"bad_since": host.bad_since, "bad_reason": host.bad_reason}


def plugins(host: Record) -> dict[str, dict[str, catalogue.Method]]:
    """Return ``{plugin: {method: {"description", "schema"}}}`` as the host announces it."""
    return catalogue.read(host.plugins).plugins
