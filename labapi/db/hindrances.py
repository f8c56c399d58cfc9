"""What may keep hosts from taking the cases that wait for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, select

from labapi.db.groups import GROUPED
from labapi.db.hosts import LIVE
from labapi.db.models import Host, Lease, Service
from labapi.db.queue import ACTIVE_CASES
from labapi.db.session import Record

_HINDRANCES = (
    select(
        Host.host,
        Host.slots,
        Host.disputed_by,
        Host.trusted_keys,
        Service.last_seen_at,
        Service.stopped,
        Service.disabled,
        Service.disabled_reason,
        Service.disabled_by,
        Host.bad_since,
        Host.bad_reason,
        Lease.project_id.label("leased_to"),
        Lease.state.label("lease_state"),
        Lease.ends_at.label("lease_ends_at"),
        ACTIVE_CASES.label("active"),
        GROUPED.label("grouped"),
    )
    .outerjoin(Service, LIVE)
    .outerjoin(Lease, Lease.id == Host.lease_id)
    .where(Host.host.in_(bindparam("hosts", expanding=True)))
)


def of(connection: Connection, hosts: Iterable[str]) -> Sequence[Record]:
    """Return how busy these hosts are, and what else may keep them from taking a case.

    :returns: ``host, slots, disputed_by, trusted_keys, last_seen_at, stopped, disabled,
        disabled_reason, disabled_by, active, grouped, bad_since, bad_reason, leased_to,
        lease_state, lease_ends_at``; the last three are those of the lease that holds it, null
        without one
    """
    return connection.execute(_HINDRANCES, {"hosts": list(hosts)}).all()
