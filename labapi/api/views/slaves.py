"""How hosts look from outside."""

from __future__ import annotations

import datetime
from typing import Any

from labapi.api import catalogue
from labapi.db.session import Record
from labapi.servicegroup.driver import Liveness


def brief(host: Record) -> dict[str, Any]:
    """Return ``id`` and ``host``."""
    return {"id": host.id, "host": host.host}


def detail(host: Record, now: datetime.datetime, liveness: Liveness) -> dict[str, Any]:
    """Return all that is known of a host but its UUID.

    :param now: the time that tells whether it is up
    """
    up = liveness.is_up(host, now)
    announced = catalogue.read(host.plugins)
    return {
        "id": host.id,
        "host": host.host,
        "address": host.address,
        "compute_node_type": announced.names,
        "compute_node_method": announced.descriptions,
        "state": "up" if up else "down",
        "status": "disabled" if host.disabled else "enabled",
        "claimed": host.disputed_by is not None,
        "metadata": host.meta,
        "last_seen": host.last_seen_at,
        "slots": host.slots,
        "release": host.release,
        **({"problem": announced.problem} if announced.problem is not None else {}),
    }
