"""A host passes from one agent to another."""

from __future__ import annotations

import datetime

from sqlalchemy import Connection

from labapi.db import attempts, hosts

_WHY = "the host was given to another agent while the case ran"


def accept(connection: Connection, host: str, now: datetime.datetime, *, max_attempts: int) -> bool:
    """Give a host to the agent that disputes its name, and settle what its predecessor leaves.

    :param max_attempts: how often a case that says ``rerun_on_loss`` is tried in all
    :returns: False if no other agent uses the name
    """
    if not hosts.accept(connection, host):
        return False
    left = attempts.active_on(connection, host)
    attempts.lose(connection, left, now, _WHY, max_attempts=max_attempts)
    return True
