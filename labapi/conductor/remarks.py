"""What unfinished cases say of a host that is down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from labapi.db import queue
from labapi.db.session import Database, Record

DOWN = "the host is down"  # how each of these remarks begins


def of_running(case: Record) -> str:
    """Return the detail of a case whose host, which has it, is down."""
    return f"{_down(case)}; the case is lost if it does not come back"


def of_waiting(host: Record) -> str:
    """Return the detail of a case that waits for this host, which is down."""
    return f"{_down(host)}; the case waits for it"


class Waiting:
    """Has cases that wait say that their host is down, for as long as it is."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._told: set[str] | None = None

    def tell(self, down: Mapping[str, str], up: Iterable[str]) -> None:
        """Write down what there is to say.

        :param down: ``{host: remark}`` of the hosts that cases wait for
        :param up: the others that cases wait for
        """
        # What another conductor told, or this one before it was restarted, is not known here.
        stale = [host for host in up if self._told is None or host in self._told]
        self._told = (self._told or set()).difference(stale).union(down)
        if down or stale:
            self._database.write(queue.remark, down, stale, DOWN)


def _down(row: Record) -> str:
    if row.stopped:
        return f"{DOWN}: its agent was stopped"
    if row.last_seen_at is None:
        return DOWN
    return f"{DOWN}: last heard of at {row.last_seen_at:%Y-%m-%dT%H:%M:%SZ}"
