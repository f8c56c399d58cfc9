"""The conductors' audit log: what they decide by themselves that an operator has to know.

The logger ``labapi.audit`` gets a line of JSON at level info for each decision, like those of the
filter ``audit``::

    {"time": "2026-11-21T09:30:00.123Z", "user": "labapi", "action": "health:bench",
     "target": "lab-7", "reason": "5 faults of the lab or more within 3600 s (agent_lost)"}
"""

from __future__ import annotations

import datetime
import json

from oslo_log import log

AUDIT = log.getLogger("labapi.audit")


def record(now: datetime.datetime, action: str, target: str, reason: str) -> None:
    """Write a line."""
    time = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"time": time, "user": "labapi", "action": action, "target": target, "reason": reason}
    AUDIT.info("%s", json.dumps(line))
