"""How groups look from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labapi.api import host_guard
from labapi.db.groups import Group


def group(found: Group, environ: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a group, without the hosts that this client may not see."""
    row = found.row
    return {
        "id": row.uuid,
        "name": row.name,
        "hosts": [
            host for host, meta in found.hosts.items() if not host_guard.hidden(environ, meta)
        ],
        "projects": found.projects,
        "metadata": row.meta,
        "health_case": row.health_case,
        "created_at": row.created_at,
    }
