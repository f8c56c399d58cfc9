"""Users who lease hosts, and what the rows of their leases must say in the end."""

from __future__ import annotations

import datetime
from typing import Any

from labapi.conductor.leases import BY_PATIENCE, BY_TIME
from labapi.db.leases import LeaseState
from tests.chaos.cases import Caller
from tests.chaos.lab import HOSTS
from tests.chaos.servers import MariaDBServer

# What may come of a request besides success: it was faster, or later, than somebody else's.
REFUSED = (409, 429, 503)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="


class Leaser(Caller):
    """Leases hosts for some seconds, by name or by number; renews some leases and ends some.

    An answer that does not come is not asked for again: such a lease ends by itself.
    """

    def run(self) -> None:
        """Make one lease after another."""
        while not self._stopping.wait(self._random.uniform(0.5, 4)):
            self._one()

    def _one(self) -> None:
        body: dict[str, Any] = {"seconds": self._random.uniform(1, 8)}
        wanted = self._random.choice([1, 1, 2])
        if self._random.random() < 0.5:
            body["hosts"] = self._random.sample(HOSTS, wanted)
        else:
            body["count"] = wanted
        if self._random.random() < 0.5:
            body["keys"] = [KEY]
        made = self._try("POST", "leases", body, 201)
        if made is None:
            return
        manner = self._random.choice(["leave", "leave", "renew", "end"])
        if manner == "leave":
            return
        self._stopping.wait(self._random.uniform(0, 4))
        path = f"leases/{made.json()['id']}"
        if manner == "renew":
            self._try("PUT", path, {"seconds": self._random.uniform(1, 8)}, 200)
        else:
            self._try("DELETE", path, None, 204)

    def _try(self, method: str, path: str, body: Any, success: int) -> Any:
        answer = self._ask(method, path, body)
        if answer is None or answer.status_code in REFUSED:
            return None
        if answer.status_code != success:
            self._problem(f"{method} {path} was answered {answer.status_code} {answer.text}")
            return None
        return answer


_ROWS = """SELECT id, state, starts_at, ends_at, ended_at, ended_by FROM labapi.leases"""
_COLUMNS = ("id", "state", "starts_at", "ends_at", "ended_at", "ended_by")
_HELD = "SELECT host FROM labapi.hosts WHERE lease_id IS NOT NULL"


def all_ended(server: MariaDBServer) -> bool:
    """Say whether no lease waits or is active."""
    query = f"SELECT COUNT(*) FROM labapi.leases WHERE state <> '{LeaseState.ENDED}'"
    return server.execute(query) == [(0,)]


def judge(server: MariaDBServer) -> list[str]:
    """Say how leases went, and return what is wrong with them now that all have ended."""
    leases = [dict(zip(_COLUMNS, row, strict=True)) for row in server.execute(_ROWS)]
    problems = [f"{host} is held by a lease that has ended" for (host,) in server.execute(_HELD)]
    late = datetime.timedelta()
    for lease in leases:
        by_time = lease["ended_by"] == BY_TIME
        if lease["state"] != LeaseState.ENDED or lease["ended_at"] is None:
            problems.append(f"lease {lease['id']} has not ended")
        elif by_time and lease["ended_at"] < lease["ends_at"]:
            problems.append(f"lease {lease['id']} was ended before its time: {lease}")
        elif by_time:
            late = max(late, lease["ended_at"] - lease["ends_at"])
        if lease["ended_by"] == BY_PATIENCE and lease["starts_at"] is not None:
            problems.append(f"lease {lease['id']} was ended as if it had never begun: {lease}")
    begun = sum(lease["starts_at"] is not None for lease in leases)
    in_time = sum(lease["ended_by"] == BY_TIME for lease in leases)
    print(
        f"leases: {len(leases)}, {begun} began, {in_time} ended by time,"
        f" at most {late.total_seconds():.1f} s late"
    )
    return problems
