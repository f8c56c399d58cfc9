"""Every move of a case and of a lease, written down by the database as it is made.

Triggers write them down inside the transactions that make them: what was rolled back is not there,
nothing that was committed is missing, and no clock is asked. Who gives a case to a host, or a host
to a lease, has locked that host: the moves of one host stand in the order in which they were made.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from labapi.case import ACTIVE
from labapi.db.leases import LeaseState
from tests.chaos.servers import MariaDBServer

_SETUP = (
    "CREATE DATABASE chaos CHARACTER SET utf8mb4",
    """CREATE TABLE chaos.moves (
        id BIGINT AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(8), number BIGINT, state VARCHAR(16),
        host VARCHAR(255), project VARCHAR(255), placed BOOLEAN, waited DOUBLE,
        attempt VARCHAR(64))""",
    """CREATE TRIGGER labapi.case_made AFTER INSERT ON labapi.testcases FOR EACH ROW
        INSERT INTO chaos.moves (kind, number, state, host, project, placed, waited, attempt)
        VALUES ('case', NEW.id, NEW.state, NEW.host, NEW.project_id,
                NEW.placement IS NOT NULL, 0, NEW.attempt)""",
    """CREATE TRIGGER labapi.case_moved AFTER UPDATE ON labapi.testcases FOR EACH ROW
        IF OLD.state <> NEW.state THEN
            INSERT INTO chaos.moves (kind, number, state, host, project, placed, waited, attempt)
            VALUES ('case', NEW.id, NEW.state, NEW.host, NEW.project_id, NEW.placement IS NOT NULL,
                    TIMESTAMPDIFF(SECOND, NEW.created_at, UTC_TIMESTAMP(6)), NEW.attempt);
        END IF""",
    """CREATE TRIGGER labapi.lease_moved AFTER UPDATE ON labapi.leases FOR EACH ROW
        IF OLD.state <> NEW.state THEN
            INSERT INTO chaos.moves (kind, number, state, host, project)
            VALUES ('lease', NEW.id, NEW.state, NEW.hosts, NEW.project_id);
        END IF""",
    """CREATE TRIGGER labapi.host_held AFTER UPDATE ON labapi.hosts FOR EACH ROW
        IF NOT OLD.lease_id <=> NEW.lease_id THEN
            INSERT INTO chaos.moves (kind, number, host, project)
            VALUES ('held', NEW.lease_id, NEW.host,
                    (SELECT project_id FROM labapi.leases WHERE id = NEW.lease_id));
        END IF""",
)
_COLUMNS = ("id", "kind", "number", "state", "host", "project", "placed", "waited", "attempt")


def record(server: MariaDBServer) -> None:
    """Have the database write down all moves from now on."""
    for statement in _SETUP:
        server.execute(statement)


def recorded(server: MariaDBServer) -> list[dict[str, Any]]:
    """Return the moves in their order."""
    rows = server.execute(f"SELECT {', '.join(_COLUMNS)} FROM chaos.moves ORDER BY id")
    return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]


class Given(NamedTuple):
    """A case that a host has.

    :ivar project: whose it is
    :ivar claim: what the attempts have in common that one transaction made
    """

    project: str
    placed: bool
    claim: str


@dataclass
class Replay:
    """Goes through the moves again, and says which of them should not have been.

    :param slots: of each host
    :param ahead: cases that a host may be given beyond them
    :param patience: seconds after which a case that names no host may be given one ahead, too
    :ivar most: cases that a host had at the same time
    :ivar within: cases that ran on a host which their own project had leased
    """

    slots: int
    ahead: int
    patience: float
    problems: list[str] = field(default_factory=list)
    most: int = 0
    within: int = 0
    _cases: dict[str, dict[int, Given]] = field(default_factory=lambda: defaultdict(dict))
    _held: dict[str, tuple[int, str]] = field(default_factory=dict)
    _leased: dict[str, int] = field(default_factory=dict)

    def play(self, moves: Iterable[Mapping[str, Any]]) -> None:
        """Look at moves in their order."""
        kinds = {"case": self._case, "lease": self._lease, "held": self._hold}
        for move in moves:
            kinds[move["kind"]](move)

    def _case(self, move: Mapping[str, Any]) -> None:
        number, host = move["number"], move["host"]
        if move["state"] not in ACTIVE:
            for cases in self._cases.values():
                cases.pop(number, None)
        elif number not in self._cases[host]:
            claim = move["attempt"].partition("-")[0]
            given = Given(move["project"], bool(move["placed"]), claim)
            self._cases[host][number] = given
            self._give(move, host, given)

    def _give(self, move: Mapping[str, Any], host: str, given: Given) -> None:
        cases = self._cases[host].values()
        self.most = max(self.most, len(cases))
        # Of one transaction, the cases that name their host are moved first: they are ahead.
        before = [case for case in cases if case.placed or case.claim != given.claim]
        free_only = given.placed and move["waited"] < self.patience
        if len(cases) > self.slots + self.ahead or (free_only and len(before) > self.slots):
            self._wrong(move, f"it is given a case that makes {len(cases)} on {host}")
        if host in self._held:
            lease, project = self._held[host]
            self.within += project == given.project
            if project != given.project:
                self._wrong(move, f"it is given {host}, which lease {lease} of {project} holds")

    def _hold(self, move: Mapping[str, Any]) -> None:
        host = move["host"]
        if move["number"] is None:
            self._held.pop(host, None)
            return
        if host in self._held:
            self._wrong(move, f"{host} is taken from lease {self._held[host][0]}")
        self._held[host] = (move["number"], move["project"])

    def _lease(self, move: Mapping[str, Any]) -> None:
        number = move["number"]
        if move["state"] != LeaseState.ACTIVE:
            self._leased = {host: lease for host, lease in self._leased.items() if lease != number}
            return
        for host in json.loads(move["host"]):
            if host in self._leased:
                self._wrong(move, f"{host} is leased by {self._leased[host]}, too")
            self._leased[host] = number
            if self._held.get(host, (0, ""))[0] != number:
                self._wrong(move, f"it begins and does not hold {host}")
            others = [n for n, case in self._cases[host].items() if case.project != move["project"]]
            if others:
                self._wrong(move, f"it begins while cases {others} of others run on {host}")

    def _wrong(self, move: Mapping[str, Any], text: str) -> None:
        about = f"{move['kind']} {move['number']} of {move['project']}"
        self.problems.append(f"move {move['id']}: {about}: {text}")
