"""How services look from outside."""

from __future__ import annotations

import datetime
from typing import Any

from labapi.db.services import AGENT
from labapi.db.session import Record
from labapi.servicegroup.driver import Liveness, is_up


def service(row: Record, now: datetime.datetime, liveness: Liveness) -> dict[str, Any]:
    """Return what is known of a service."""
    return {
        "id": row.id,
        "binary": row.binary,
        "host": row.host,
        "zone": row.zone,
        "status": "disabled" if row.disabled else "enabled",
        "disabled_reason": row.disabled_reason,
        "disabled_by": row.disabled_by,
        "state": "up" if is_up(liveness, row, now, agent=row.binary == AGENT) else "down",
        "updated_at": row.last_seen_at,
        "clock_skew": (row.facts or {}).get("clock_skew"),
        "facts": row.facts,
    }
