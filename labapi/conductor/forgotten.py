"""Agents that have lost their journal, and what they were given before."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from sqlalchemy import Connection

from labapi.db import attempts
from labapi.db.session import Record
from labapi.rpc.messages import Announce

WHY = "the agent has lost its journal, or the end of it: the case may have run"


def lose(
    connection: Connection,
    known: Mapping[str, Record],
    announced: Mapping[str, Announce],
    now: datetime.datetime,
    *,
    max_attempts: int,
) -> attempts.Lost:
    """Give up the cases of hosts whose agents come with another journal than before.

    Nothing of it is resent, since it may have run already. What the agent still remembers counts.

    :param known: what is known of the hosts so far
    :returns: what became of them
    """
    forgetful = {
        host
        for host, sign in announced.items()
        if host in known and known[host].journal and known[host].journal != sign.journal
    }
    if not forgetful:
        return attempts.Lost([], [])
    lost = {
        case: attempt
        for case, attempt, host in sorted(attempts.current_on(connection, forgetful))
        if attempt not in announced[host].held
    }
    return attempts.lose(connection, lost, now, WHY, max_attempts=max_attempts)
