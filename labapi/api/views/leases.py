"""How leases look from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from labapi.api.views.slaves import until_at_most
from labapi.db.session import Record


def lease(row: Record) -> dict[str, Any]:
    """Return what is known of a lease."""
    # A row that somebody else has written may hold anything; the lease is shown all the same.
    placement = row.placement if isinstance(row.placement, dict) else {}
    return {
        "id": row.uuid,
        "project_id": row.project_id,
        "user_id": row.user_id,
        "state": row.state,
        "hosts": row.hosts or [],
        "count": row.count,
        "requires": placement.get("requires", []),
        "group": placement.get("group"),
        "zone": placement.get("zone"),
        "seconds": row.seconds,
        "note": row.note,
        "keys": row.keys or [],
        "created_at": row.created_at,
        "starts_at": row.starts_at,
        "ends_at": row.ends_at,
        "ended_at": row.ended_at,
        "ended_by": row.ended_by,
    }


def waiting(place: int, cases: Sequence[Record]) -> dict[str, Any]:
    """Return what is known of the waiting of a lease.

    :param place: among those that wait, counted from 1
    :param cases: of others, which have to end first: ``host, started_at, timeout``
    """
    ends = [{"host": case.host, "until": until_at_most(case)} for case in cases]
    return {"place": place, "waits_for": ends}
