"""One transaction that moves a test plan on.

It settles the entries whose cases have ended, and begins those that come next. The plan is locked
all the while, and what it finds and changes is rows: it may run at any time, twice, or in two
conductors at once. An entry's nth case always has the same UUID, so there are never two of it.
"""

from __future__ import annotations

import datetime
import itertools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection

from labapi.case import Reason, Result, State
from labapi.conductor.giving import Added, Giving
from labapi.conductor.registered import Registered
from labapi.db import leases, plans
from labapi.db.session import Record
from labapi.exceptions import InvalidInput
from labapi.plans.entry import SKIPPED, Rules, place
from labapi.plans.results import worst

GONE = "its case is not there any more"

# An entry, and the columns of its next case.
Begin = tuple[Record, dict[str, Any]]

# Queued entries that are read with the running ones: enough for a serial step.
LOOKAHEAD = 16


@dataclass
class Move:
    """What came of moving a plan on.

    :ivar running: UUIDs of the cases of the entries that run now
    :ivar added: the cases that were added
    :ivar finished: nothing is left to do
    """

    running: set[str] = field(default_factory=set)
    added: Added = field(default_factory=Added)
    finished: bool = False
    result: str | None = None


def advance(connection: Connection, plan: str, giving: Giving, window: int) -> Move | None:
    """Move a plan on as far as it goes.

    :param plan: its UUID
    :param window: entries of it that run at the same time at most
    :returns: None if it is finished already, or not there
    """
    rows = plans.lock(connection, plan, LOOKAHEAD)
    # The lock may have been waited for: what has ended by now did so before what begins.
    now = datetime.datetime.now(datetime.UTC)
    return _Advance(connection, rows, giving, now).run(window) if rows else None


class _Advance:
    """The transaction.

    :param rows: what :func:`labapi.db.plans.lock` returned
    """

    def __init__(
        self,
        connection: Connection,
        rows: Sequence[Record],
        giving: Giving,
        now: datetime.datetime,
    ) -> None:
        self._connection = connection
        self._giving = giving
        self._now = now
        self._plan = rows[0]
        self._id: int = rows[0].plan_id
        self._running = [row for row in rows if row.state == State.RUNNING]
        self._next: Sequence[Record] = [row for row in rows if row.state == State.QUEUED]
        self._changes: list[dict[str, Any]] = []
        self._broken: Record | None = None
        self._why = ""
        self._outline: list[dict[str, Any]] | None = None
        self._registered = Registered(connection, self._id, now)

    def run(self, window: int) -> Move:
        """Settle what has ended, and begin what comes next or end the plan."""
        going_on, again = self._settle()
        turn = self._running[0].turn if going_on or again else None
        begin = self._prepared(again)
        room = window - len(going_on) - len(begin)
        if self._skip_rest():
            self._read_on(LOOKAHEAD)
        begin += self._following(turn if going_on or begin else None, room)
        self._skip_rest()
        move = Move({row.case for row in going_on})
        if begin:
            move.added = self._begin(begin)
            move.running |= {columns["uuid"] for _, columns in begin}
        self._write_down()
        if not move.running:
            move.finished, move.result = True, self._finish()
        return move

    def _settle(self) -> tuple[list[Record], list[Record]]:
        """Note how entries have ended; return those that go on, and those that run again."""
        going_on: list[Record] = []
        again: list[Record] = []
        for row in self._running:
            rules = _rules(row)
            result = row.case_result
            stops = self._plan.plan_state == State.CANCELLING and not row.always
            if row.case_state is None:
                self._end(row, Result.ERROR, None, GONE)
            elif row.case_state != State.FINISHED:
                going_on.append(row)
            elif rules.runs_again(result, row.tries) and not stops:
                again.append(row)
            elif self._registered.keep(row, rules):
                self._end(row, result, row.case_reason, row.case_detail)
            else:
                going_on.append(row)
        return going_on, again

    def _end(self, row: Record, result: str, reason: str | None, detail: str | None) -> None:
        """Note how an entry has ended, and whether its step ends with it."""
        ran = row.state == State.RUNNING
        self._changes.append(
            {
                "id": row.id,
                "state": State.FINISHED,
                "result": result,
                "reason": reason,
                "detail": detail,
                "case": row.case,
                "tries": row.tries,
                "exit_code": row.case_exit_code if ran else None,
                "started_at": row.case_started_at if ran else None,
                "finished_at": (row.case_finished_at if ran else None) or self._now,
            }
        )
        if self._broken is None and _rules(row).breaks(result):
            self._broken = row
            self._why = f"{self._place(row)} has ended as {result}"

    def _skip_rest(self) -> bool:
        """Let nothing begin that a broken step keeps from it; say whether there is one."""
        if self._broken is None:
            return False
        within = None if self._plan.plan_stop_on_fail else self._broken.test_case
        plans.skip(self._connection, self._id, self._why, after=self._broken.turn, test_case=within)
        self._broken = None
        return True

    def _following(self, turn: int | None, room: int) -> list[Begin]:
        """Return the entries that begin now: of the first turn of which any can.

        :param turn: the one that has begun already
        :param room: how many may begin
        """
        limit = LOOKAHEAD
        while self._next and room > 0:
            cut = len(self._next) == limit
            for of, group in itertools.groupby(self._next, key=lambda row: row.turn):
                if turn not in (None, of):
                    return []
                rows = list(group)
                if cut and limit < room and rows[-1] is self._next[-1]:
                    break  # there may be more of this turn
                for at in range(0, len(rows), room):
                    begin = self._prepared(rows[at : at + room])
                    if begin or turn is not None:
                        return begin
                if self._broken is not None:
                    break
            if not cut and self._broken is None:
                return []
            limit = max(limit, room)
            self._skip_rest()
            self._read_on(limit)
        return []

    def _read_on(self, limit: int) -> None:
        self._write_down()
        self._next = plans.following(self._connection, self._id, limit)

    def _prepared(self, rows: Sequence[Record]) -> list[Begin]:
        """Return the columns of the next cases of entries; note what becomes of those without."""
        rules = {row.number: _rules(row) for row in rows}
        others = {number for rule in rules.values() for number in rule.same_host_as}
        found = plans.references(self._connection, self._id, others) if others else {}
        lacking = self._lacking(rules, found)
        asked = {row.number: lease for row in rows if (lease := _lease(row)) is not None}
        over = leases.over(self._connection, asked.values()) if asked else set()
        begin: list[Begin] = []
        for row in rows:
            if self._registered.full:
                break
            if row.number in lacking:
                self._changes.append(_skipped(row, lacking[row.number]))
                continue
            if asked.get(row.number) in over:  # its case would wait for ever
                why = f"lease {asked[row.number]} has ended"
                self._end(row, Result.ERROR, Reason.NO_VALID_HOST, why)
                continue
            same = [_case_of(self._plan, found[n]) for n in rules[row.number].same_host_as]
            try:
                begin.append((row, self._columns(row, rules[row.number], same)))
            except InvalidInput as error:
                self._end(row, Result.ERROR, Reason.BAD_DATA, str(error))
        return begin

    def _lacking(self, rules: Mapping[int, Rules], found: Mapping[int, Record]) -> dict[int, str]:
        """Return why entries cannot run, by number."""
        lacking: dict[int, str] = {}
        for number, rule in rules.items():
            missing = [name for name in rule.uses if name not in self._registered.values]
            if missing:
                lacking[number] = f"nothing has registered {missing[0]!r}"
        before = None
        while before != len(lacking):
            before = len(lacking)
            for number, rule in rules.items():
                for other in rule.same_host_as:
                    if other in lacking or _has_no_host(found[other]):
                        where = self._place(found[other])
                        lacking.setdefault(number, f"{where}, whose host it wants, has none")
        return lacking

    def _columns(self, row: Record, rules: Rules, same: Sequence[str]) -> dict[str, Any]:
        """Return the columns of an entry's next case.

        :param same: UUIDs of cases on whose hosts it is to run
        :raises InvalidInput: what was registered has not what it asks of it
        """
        plan, columns = self._plan, row.columns
        parameters = columns["parameters"]
        if rules.uses:
            parameters = self._registered.put_in(parameters)
        placement = columns.get("placement")
        if same:
            placement = {**(placement or {}), "same_host_as": same}
        return {
            "uuid": case_uuid(plan.plan_uuid, row.number, row.tries + 1),
            "project_id": plan.plan_project_id,
            "user_id": plan.plan_user_id,
            "request_id": plan.plan_request_id,
            "plan": plan.plan_uuid,
            "plugin": columns["plugin"],
            "method": columns["method"],
            "host": columns.get("host"),
            "parameters": parameters,
            "timeout": columns["timeout"],
            "placement": placement,
            "queue_rank": columns.get("queue_rank", 0),
            "rerun_on_loss": columns.get("rerun_on_loss", False),
            "created_at": self._now,
            "output_size": 0,
        }

    def _begin(self, begin: Sequence[Begin]) -> Added:
        """Add the cases of entries, which run from now on."""
        if self._plan.plan_started_at is None:
            began: dict[str, Any] = {"started_at": self._now}
            if self._plan.plan_state == State.QUEUED:  # one that was cancelled begins, too
                began["state"] = State.RUNNING
            plans.change(self._connection, self._id, began)
        for row, columns in begin:
            change = dict.fromkeys(plans.BECOMES)
            self._changes.append(
                {
                    **change,
                    "id": row.id,
                    "state": State.RUNNING,
                    "case": columns["uuid"],
                    "tries": row.tries + 1,
                }
            )
        return self._giving.add(self._connection, [columns for _, columns in begin], self._now)

    def _write_down(self) -> None:
        plans.change_entries(self._connection, self._changes)
        self._changes = []
        self._registered.write_down()

    def _finish(self) -> str | None:
        """End the plan; return its result."""
        result: str | None = worst(plans.results(self._connection, self._id))
        if self._plan.plan_state == State.CANCELLING:
            result = Result.CANCELLED
        plans.finish(self._connection, self._id, result, self._now)
        return result

    def _place(self, row: Record) -> str:
        if self._outline is None:
            self._outline = plans.outline(self._connection, self._id)
        return place(self._outline, row.test_case, row.step, row.name)


def case_uuid(plan: str, number: int, nth: int) -> str:
    """Return the UUID of an entry's nth case."""
    return str(uuid.uuid5(uuid.UUID(plan), f"{number}/{nth}"))


def _rules(row: Record) -> Rules:
    return msgspec.convert(row.rules, Rules)


def _lease(row: Record) -> str | None:
    """Return the lease that must hold the host of an entry's case, None if there is none."""
    lease: str | None = (row.columns.get("placement") or {}).get("lease")
    return lease


def _skipped(row: Record, why: str) -> dict[str, Any]:
    return {
        **dict.fromkeys(plans.BECOMES),
        "id": row.id,
        "state": SKIPPED,
        "detail": why,
        "tries": row.tries,
    }


def _has_no_host(other: Record) -> bool:
    """Say whether an entry has never run anywhere, and never will."""
    return other.state == SKIPPED or (other.state == State.FINISHED and other.host is None)


def _case_of(plan: Record, other: Record) -> str:
    return str(other.case or case_uuid(plan.plan_uuid, other.number, 1))
