"""What the scheduler reads of hosts: narrow rows of all, wide ones of those that changed."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from sqlalchemy import (
    BindParameter,
    Connection,
    Text,
    bindparam,
    func,
    select,
    type_coerce,
)

from labapi.case import ACTIVE
from labapi.db.groups import GROUPED
from labapi.db.hosts import LIVE, PLUGINS
from labapi.db.models import (
    Host,
    HostFault,
    Lease,
    Service,
    TestCase,
)
from labapi.db.queue import ACTIVE_CASES, WAITED_FOR
from labapi.db.services import AGENT
from labapi.db.session import Record

# Statements are built once: building one takes longer than running it.
_IDS: BindParameter[int] = bindparam("ids", expanding=True)
_NARROW = (
    Host.id,
    Host.uuid,
    Host.host,
    Host.slots,
    Host.changed_at,
    Host.lease_id,
    Host.bad_since,
    Host.bad_reason,
    Host.trusted_keys,
    Service.id.label("service"),
    Service.last_seen_at,
    Service.stopped,
    Service.disabled,
    Service.zone,
)
_EVERY = select(*_NARROW).outerjoin(Service, LIVE)
# In the order of their names, as leases do, so that who wants the same hosts waits for the others.
# With a limit it is no view that is merged: all are locked before the rest is read.
_THESE = (
    select(Host.id)
    .where(Host.host.in_(bindparam("hosts", expanding=True)))
    .order_by(Host.host)
    .limit(1_000_000)
    .with_for_update()
    .subquery("these")
)
_LOCK = (
    select(
        *_NARROW,
        Host.agent,
        Host.session,
        Service.facts,
        ACTIVE_CASES.label("active"),
        WAITED_FOR.label("wanted"),
        GROUPED.label("grouped"),
        Lease.uuid.label("lease"),
        Lease.project_id.label("lease_project"),
        Lease.state.label("lease_state"),
        Lease.ends_at,
    )
    .select_from(_THESE)
    .join(Host, Host.id == _THESE.c.id)
    .outerjoin(Service, LIVE)
    .outerjoin(Lease, Lease.id == Host.lease_id)
    # In this order: what MariaDB reads in a statement is of the moment of its first read without a
    # lock, which would come before the locks if it began with the hosts.
    .prefix_with("STRAIGHT_JOIN", dialect="mysql")
    .prefix_with("STRAIGHT_JOIN", dialect="mariadb")
)
_WIDE = select(Host.id, PLUGINS, Host.meta).where(Host.id.in_(_IDS))
_FACTS = select(Service.host, Service.facts).where(
    Service.binary == AGENT, Service.id.between(bindparam("low"), bindparam("high"))
)
_ACTIVE = (
    select(TestCase.host, func.count().label("active"))
    .where(TestCase.state.in_(ACTIVE), TestCase.host.is_not(None))
    .group_by(TestCase.host)
)
_LEASES = select(
    Lease.id,
    Lease.uuid.label("lease"),
    Lease.project_id.label("lease_project"),
    Lease.state.label("lease_state"),
    Lease.ends_at,
).where(Lease.id.in_(_IDS))
_FAULTS = (
    select(HostFault.host, func.count().label("faults"))
    .where(HostFault.at > bindparam("after"))
    .group_by(HostFault.host)
)


def distrusting(connection: Connection, keys: Iterable[str | None]) -> set[int]:
    """Return the ids of hosts whose agents trust none of the keys that conductors sign with.

    :param keys: short names; None stands for a conductor that does not sign
    """
    text = type_coerce(Host.trusted_keys, Text)
    against = [text.not_like(f'%"{key}"%') for key in keys if key is not None]
    found = connection.execute(select(Host.id).where(text.is_not(None), *against))
    return set(found.scalars())


def every(connection: Connection) -> Sequence[Record]:
    """Return what changes often of all hosts: no catalogues, metadata or facts.

    :returns: ``id, uuid, host, slots, changed_at, lease_id, bad_since, bad_reason, trusted_keys,
        service, last_seen_at, stopped, disabled, zone``; ``service`` is the id of its agent's
        service, null together with all that follows it
    """
    return connection.execute(_EVERY).all()


def lock(connection: Connection, hosts: Iterable[str]) -> Sequence[Record]:
    """Have nobody else give cases to these hosts until the transaction ends.

    :returns: all of them that may change from one moment to the next: as :func:`every`, and
        ``agent, session, facts, active, wanted`` (a waiting case may want it), ``grouped`` (it is
        in groups), ``lease, lease_project, lease_state, ends_at``, as :func:`leases`, null without
        one
    """
    return connection.execute(_LOCK, {"hosts": list(hosts)}).all()


def wide(connection: Connection, ids: Iterable[int]) -> Sequence[Record]:
    """Return ``id, plugins`` (JSON text) and ``meta`` of these hosts."""
    return connection.execute(_WIDE, {"ids": list(ids)}).all()


def facts(connection: Connection, low: int, high: int) -> Sequence[Record]:
    """Return ``host, facts`` of the agents whose services have ids from ``low`` to ``high``."""
    return connection.execute(_FACTS, {"low": low, "high": high}).all()


def active(connection: Connection) -> dict[str, int]:
    """Return how many cases each host was given and has not finished, if any."""
    return {row.host: row.active for row in connection.execute(_ACTIVE)}


def leases(connection: Connection, ids: Iterable[int]) -> Sequence[Record]:
    """Return ``id, lease`` (UUID), ``lease_project, lease_state, ends_at`` of these leases."""
    return connection.execute(_LEASES, {"ids": list(ids)}).all()


def faults(connection: Connection, after: datetime.datetime) -> dict[str, int]:
    """Return how many cases ended on hosts by the lab's fault after a time, if any did."""
    return {row.host: row.faults for row in connection.execute(_FAULTS, {"after": after})}
