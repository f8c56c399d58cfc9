"""A host passes from one agent to another."""

from __future__ import annotations

import datetime

from sqlalchemy import Connection

from labapi.db import attempts, health, hosts

_WHY = "the host was given to another agent while the case ran"


def accept(
    connection: Connection, host: str, now: datetime.datetime, *, max_attempts: int
) -> attempts.Lost | None:
    """Give a host to the agent that disputes its name, and settle what its predecessor leaves.

    :param max_attempts: how often a case that says ``rerun_on_loss`` is tried in all
    :returns: what became of the predecessor's cases; None if no other agent uses the name
    """
    if not hosts.accept(connection, host):
        return None
    left = attempts.active_on(connection, host)
    lost = attempts.lose(connection, left, now, _WHY, max_attempts=max_attempts)
    health.forget(connection, host)
    return lost
