"""Test plans and their entries: how they are added, and what moves them on.

Who changes a plan or an entry has locked the plan's row: of two conductors that move the same plan
on, one waits for the other. Behind the plan, hosts are locked, and cases last; who ends a case
locks no plan.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    bindparam,
    exists,
    insert,
    null,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError

from labapi.case import ACTIVE, Reason, Result, State
from labapi.db import attempts, notices
from labapi.db.models import PlanEntry, TestCase, TestPlan
from labapi.db.session import Record
from labapi.plans.entry import SKIPPED

# States of plans that are not finished.
UNFINISHED = (State.QUEUED, State.RUNNING, State.CANCELLING)
# What an entry is that nothing has become of yet.
_FRESH: dict[str, Any] = {
    "description": None,
    "always": False,
    "state": State.QUEUED,
    "result": None,
    "reason": None,
    "detail": None,
    "case": None,
    "tries": 0,
    "exit_code": None,
    "started_at": None,
    "finished_at": None,
}

# Statements are built once: building one takes longer than running it.
_INSERT = insert(TestPlan)
_INSERT_ENTRIES = insert(PlanEntry)
_TWIN = select(TestPlan.uuid).where(
    or_(TestPlan.uuid == bindparam("uuid"), TestPlan.idempotency == bindparam("key"))
)
# With a limit it is no view that is merged: the plan is locked before anything else is read.
_LOCKED = (
    select(
        TestPlan.id,
        TestPlan.uuid,
        TestPlan.state,
        TestPlan.project_id,
        TestPlan.user_id,
        TestPlan.request_id,
        TestPlan.stop_on_fail,
        TestPlan.started_at,
    )
    .where(TestPlan.uuid == bindparam("plan"), TestPlan.state != State.FINISHED)
    .limit(1)
    .with_for_update()
    .subquery("plan")
)
_OF_PLAN = [column.label(f"plan_{column.name}") for column in _LOCKED.c]
_OF_ENTRY = [
    PlanEntry.id,
    PlanEntry.number,
    PlanEntry.turn,
    PlanEntry.test_case,
    PlanEntry.step,
    PlanEntry.name,
    PlanEntry.always,
    PlanEntry.columns,
    PlanEntry.rules,
    PlanEntry.state,
    PlanEntry.tries,
    PlanEntry.case,
]
_OF_CASE = [
    TestCase.state,
    TestCase.result,
    TestCase.reason,
    TestCase.detail,
    TestCase.exit_code,
    TestCase.data,
    TestCase.started_at,
    TestCase.finished_at,
    TestCase.output_size,
    TestCase.output_sent,
]
_RUNNING = (
    select(*_OF_PLAN, *_OF_ENTRY, *(column.label(f"case_{column.name}") for column in _OF_CASE))
    .select_from(_LOCKED)
    .outerjoin(PlanEntry, (PlanEntry.plan_id == _LOCKED.c.id) & (PlanEntry.state == State.RUNNING))
    .outerjoin(TestCase, TestCase.uuid == PlanEntry.case)
)
_FIRST = (
    select(*_OF_PLAN, *_OF_ENTRY, *(null().label(f"case_{column.name}") for column in _OF_CASE))
    .select_from(_LOCKED)
    .join(PlanEntry, (PlanEntry.plan_id == _LOCKED.c.id) & (PlanEntry.state == State.QUEUED))
    .order_by(PlanEntry.turn, PlanEntry.number)
    .limit(bindparam("limit"))
    .subquery("first")
)
_LOCK = union_all(_RUNNING, select(*_FIRST.c))
_NEXT = (
    select(*_OF_ENTRY)
    .where(PlanEntry.plan_id == bindparam("plan_id"), PlanEntry.state == State.QUEUED)
    .order_by(PlanEntry.turn, PlanEntry.number)
    .limit(bindparam("limit"))
)
# What becomes of an entry.
BECOMES = (
    "state",
    "result",
    "reason",
    "detail",
    "case",
    "tries",
    "exit_code",
    "started_at",
    "finished_at",
)
_CHANGE_ENTRY = (
    update(PlanEntry)
    .where(PlanEntry.id == bindparam("row"))
    .values({name: bindparam(f"new_{name}") for name in BECOMES})
)
_CHANGE = update(TestPlan).where(TestPlan.id == bindparam("row"))
_SKIP = (
    update(PlanEntry)
    .where(
        PlanEntry.plan_id == bindparam("of"),
        PlanEntry.state == State.QUEUED,
        PlanEntry.always.is_(False),
        PlanEntry.turn > bindparam("beyond"),
    )
    .values(state=SKIPPED, detail=bindparam("why"))
)
_SKIP_TEST_CASE = _SKIP.where(PlanEntry.test_case == bindparam("within"))
_RESULTS = (
    select(PlanEntry.result)
    .where(PlanEntry.plan_id == bindparam("plan_id"), PlanEntry.result.is_not(None))
    .distinct()
)
_REGISTERED = select(TestPlan.registered).where(TestPlan.id == bindparam("plan_id"))
_OUTLINE = select(TestPlan.outline).where(TestPlan.id == bindparam("plan_id"))
_NOTIFY = select(TestPlan.notify).where(TestPlan.id == bindparam("plan_id"))
_REFERENCES = (
    select(
        PlanEntry.number,
        PlanEntry.test_case,
        PlanEntry.step,
        PlanEntry.name,
        PlanEntry.state,
        PlanEntry.case,
        TestCase.host.label("host"),
    )
    .outerjoin(TestCase, TestCase.uuid == PlanEntry.case)
    .where(
        PlanEntry.plan_id == bindparam("plan_id"),
        PlanEntry.number.in_(bindparam("numbers", expanding=True)),
    )
)
_ENTRY_RUNS = (PlanEntry.plan_id == TestPlan.id) & (PlanEntry.state == State.RUNNING)
_ENDED = exists().where(
    _ENTRY_RUNS, TestCase.uuid == PlanEntry.case, TestCase.state == State.FINISHED
)
_DUE = select(TestPlan.uuid).where(
    TestPlan.state.in_(UNFINISHED),
    or_(~exists().where(_ENTRY_RUNS), _ENDED.correlate(TestPlan)),
)


class Cancelled(NamedTuple):
    """What became of the cases of a plan that was cancelled: UUIDs.

    :ivar ended: they had waited, and are finished
    :ivar ending: their agents are to end them
    """

    ended: list[str]
    ending: list[str]


def create(
    connection: Connection, plan: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]
) -> str:
    """Add a plan with its entries, all or nothing.

    :param plan: its columns: ``uuid, project_id, user_id, request_id, name, document, outline,
        stop_on_fail, notify, created_at`` and others that are not null
    :param entries: their columns but ``plan_id``: ``number, turn, test_case, step, name, columns,
        rules`` and others that have a value; ``columns`` holds ``plugin, method, host, parameters,
        timeout, placement, queue_rank, rerun_on_loss`` of its cases
    :returns: the plan's UUID, or that of the plan that has its ``idempotency`` already
    """
    values = {"state": State.QUEUED, "registered": {}, "idempotency": None, **plan}
    try:
        made = connection.execute(_INSERT, values)
    except IntegrityError:
        # Another request with the same key was faster, or this transaction was committed and its
        # answer lost.
        twin = {"uuid": values["uuid"], "key": values["idempotency"]}
        return str(connection.execute(_TWIN, twin).scalar_one())
    number = made.lastrowid
    if entries:
        rows = [{**_FRESH, **entry, "plan_id": number} for entry in entries]
        connection.execute(_INSERT_ENTRIES, rows)
    return str(values["uuid"])


def lock(connection: Connection, plan: str, limit: int) -> Sequence[Record]:
    """Return the running entries of a plan and the queued ones that come first, the plan locked.

    :param limit: how many of the queued ones
    :returns: columns of entries, of the plan as ``plan_…``, of the cases as ``case_…``, which are
        null where there is none; one row whose ``id`` is null stands for "none runs"; there is no
        row if the plan is finished, or is not there
    """
    return connection.execute(_LOCK, {"plan": plan, "limit": limit}).all()


def following(connection: Connection, plan_id: int, limit: int) -> Sequence[Record]:
    """Return the queued entries of a plan that come first, in their order: columns of entries."""
    return connection.execute(_NEXT, {"plan_id": plan_id, "limit": limit}).all()


def change(connection: Connection, plan_id: int, values: Mapping[str, Any]) -> None:
    """Set columns of a locked plan."""
    connection.execute(_CHANGE.values(dict(values)), {"row": plan_id})


def change_entries(connection: Connection, changes: Sequence[Mapping[str, Any]]) -> None:
    """Set what becomes of entries of a locked plan.

    :param changes: for each its ``id`` and all columns in ``BECOMES``
    """
    if changes:
        rows = [
            {"row": change["id"], **{f"new_{name}": change[name] for name in BECOMES}}
            for change in changes
        ]
        connection.execute(_CHANGE_ENTRY, rows)


def skip(
    connection: Connection,
    plan_id: int,
    why: str,
    *,
    after: int = -1,
    test_case: int | None = None,
) -> None:
    """Let no queued entry of a locked plan begin, but for those that always do.

    :param why: their detail
    :param after: only those of later turns than this
    :param test_case: only those of this one
    """
    values = {"of": plan_id, "beyond": after, "why": why}
    if test_case is None:
        connection.execute(_SKIP, values)
    else:
        connection.execute(_SKIP_TEST_CASE, {**values, "within": test_case})


def results(connection: Connection, plan_id: int) -> list[str | None]:
    """Return the results that entries of a plan have, each once."""
    return list(connection.execute(_RESULTS, {"plan_id": plan_id}).scalars())


def registered(connection: Connection, plan_id: int) -> dict[str, Any]:
    """Return what entries of a plan have registered, by name."""
    return dict(connection.execute(_REGISTERED, {"plan_id": plan_id}).scalar_one())


def outline(connection: Connection, plan_id: int) -> list[dict[str, Any]]:
    """Return the outline of a plan: its test cases and their steps."""
    return list(connection.execute(_OUTLINE, {"plan_id": plan_id}).scalar_one())


def references(connection: Connection, plan_id: int, numbers: Iterable[int]) -> dict[int, Record]:
    """Return entries of a plan by number.

    :returns: ``number, test_case, step, name, state, case`` and ``host``, that of the case
    """
    found = connection.execute(_REFERENCES, {"plan_id": plan_id, "numbers": list(numbers)})
    return {row.number: row for row in found}


def finish(
    connection: Connection, plan_id: int, result: str | None, now: datetime.datetime
) -> None:
    """End a locked plan, and note whom to tell."""
    values = {"state": State.FINISHED, "result": result, "finished_at": now}
    change(connection, plan_id, values)
    notify = connection.execute(_NOTIFY, {"plan_id": plan_id}).scalar_one()
    notices.add(connection, notices.of_plan(plan_id, notify, now))


def cancel(connection: Connection, plan: str, now: datetime.datetime) -> Cancelled | None:
    """Cancel a plan: what runs is to end, and nothing begins but what always does.

    Entries that always run are left alone, those that run already too. A conductor ends the plan.

    :returns: None if the plan is finished already, or not there
    """
    rows = lock(connection, plan, 0)
    if not rows:
        return None
    why = {"reason": Reason.CANCELLED, "detail": "cancelled"}
    change(connection, rows[0].plan_id, {"state": State.CANCELLING, **why})
    skip(connection, rows[0].plan_id, "the plan was cancelled")
    cases = [row.case for row in rows if row.case is not None and not row.always]
    ended = attempts.finish(
        connection,
        cases,
        now,
        states=(State.QUEUED,),
        result=Result.CANCELLED,
        reason=Reason.CANCELLED,
        detail="cancelled before it was dispatched",
    )
    running = [row for row in attempts.lock(connection, cases).values() if row.state in ACTIVE]
    attempts.change(connection, {row.id: {"state": State.CANCELLING} for row in running})
    return Cancelled(ended, [row.uuid for row in running])


def due(connection: Connection) -> list[str]:
    """Return the UUIDs of plans of which something has ended, or of which nothing runs."""
    return list(connection.execute(_DUE).scalars())
