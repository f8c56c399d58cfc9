"""What the API, and whoever tells of a plan's end, ask about test plans.

What moves them on is in :mod:`labapi.db.plans`.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Text, bindparam, case, func, select, type_coerce, union_all

from labapi.case import Result
from labapi.db.models import FormerHost, Host, PlanEntry, TestCase, TestPlan
from labapi.db.session import Record
from labapi.db.testcases import PAGE_BYTES

_PLAN: Any = bindparam("plan")
_SUMMARY = [
    TestPlan.id,
    TestPlan.uuid,
    TestPlan.name,
    TestPlan.state,
    TestPlan.result,
    TestPlan.reason,
    TestPlan.detail,
    TestPlan.rerun_of,
    TestPlan.project_id,
    TestPlan.user_id,
    TestPlan.request_id,
    TestPlan.created_at,
    TestPlan.started_at,
    TestPlan.finished_at,
]
_LIST = select(*_SUMMARY).order_by(TestPlan.id.desc())
# The document itself, which holds secrets, is for a rerun only.
_WHOLE = select(*_SUMMARY, TestPlan.outline, TestPlan.notify)
_BY_UUID = _WHOLE.where(TestPlan.uuid == _PLAN)
_BY_ID = _WHOLE.where(TestPlan.id == _PLAN)
_BY_KEY = select(*_SUMMARY, TestPlan.body_digest).where(TestPlan.idempotency == bindparam("key"))
_DOCUMENT = select(TestPlan.document, TestPlan.registered).where(TestPlan.id == _PLAN)
_PASSED = select(
    PlanEntry.test_case,
    PlanEntry.step,
    PlanEntry.name,
    PlanEntry.state,
    PlanEntry.result,
    PlanEntry.reason,
    PlanEntry.detail,
    PlanEntry.case,
    PlanEntry.tries,
    PlanEntry.exit_code,
    PlanEntry.started_at,
    PlanEntry.finished_at,
).where(PlanEntry.plan_id == _PLAN, PlanEntry.result == Result.PASS)
_FLAKY = case(((PlanEntry.tries > 1) & (PlanEntry.result == Result.PASS), 1), else_=0)
_TALLIES = (
    select(
        PlanEntry.test_case,
        PlanEntry.step,
        PlanEntry.state,
        PlanEntry.result,
        _FLAKY.label("flaky"),
        func.count().label("count"),
        func.min(PlanEntry.started_at).label("started_at"),
        func.max(PlanEntry.finished_at).label("finished_at"),
    )
    .where(PlanEntry.plan_id == _PLAN)
    .group_by(PlanEntry.test_case, PlanEntry.step, PlanEntry.state, PlanEntry.result, _FLAKY)
    .order_by(PlanEntry.test_case, PlanEntry.step)
)
_WITH_CASE = PlanEntry.__table__.outerjoin(TestCase, TestCase.uuid == PlanEntry.case)
_SIZES = (
    select(
        PlanEntry.id,
        (
            func.length(type_coerce(PlanEntry.columns, Text))
            + func.coalesce(func.length(type_coerce(TestCase.parameters, Text)), 0)
        ).label("size"),
    )
    .select_from(_WITH_CASE)
    .where(PlanEntry.plan_id == _PLAN, PlanEntry.number > bindparam("after"))
    .order_by(PlanEntry.number)
    .limit(bindparam("limit"))
)
# Its case says what it ran with; the columns, what a case of it would.
_RAN = [
    *(TestCase.host, TestCase.parameters, TestCase.placement, TestCase.output_size),
    TestCase.started_at,
]
_ENTRIES = (
    select(*PlanEntry.__table__.columns, *(column.label(f"case_{column.key}") for column in _RAN))
    .select_from(_WITH_CASE)
    .where(PlanEntry.id.in_(bindparam("ids", expanding=True)))
    .order_by(PlanEntry.number)
)
_THESE: Any = bindparam("hosts", expanding=True)
_METADATA = union_all(
    *(select(of.host, of.meta).where(of.host.in_(_THESE)) for of in (Host, FormerHost))
)


def get(connection: Connection, plan: str | int) -> Record | None:
    """Return a plan by UUID or ``id``: its summary, ``outline`` and ``notify``."""
    statement = _BY_UUID if isinstance(plan, str) else _BY_ID
    return connection.execute(statement, {"plan": plan}).one_or_none()


def with_key(connection: Connection, idempotency: str) -> Record | None:
    """Return the plan that was made with this digest of an Idempotency-Key.

    :returns: its summary, and ``body_digest``
    """
    return connection.execute(_BY_KEY, {"key": idempotency}).one_or_none()


def document(connection: Connection, plan: int) -> Record | None:
    """Return the ``document`` of a plan, and what was ``registered``; None if it has gone."""
    return connection.execute(_DOCUMENT, {"plan": plan}).one_or_none()


def passed(connection: Connection, plan: int) -> Sequence[Record]:
    """Return the entries of a plan that passed: where they stand, and what became of them."""
    return connection.execute(_PASSED, {"plan": plan}).all()


def page(
    connection: Connection,
    filters: Mapping[str, Any],
    *,
    since: datetime.datetime | None,
    before: int | None,
    limit: int,
) -> Sequence[Record]:
    """Return the summaries of plans, newest first.

    :param filters: column → value it must have
    :param since: only plans created at this time or later
    :param before: the ``id`` of the last plan on the page before
    """
    statement = _LIST.where(*[getattr(TestPlan, name) == filters[name] for name in filters])
    if since is not None:
        statement = statement.where(TestPlan.created_at >= since)
    if before is not None:
        statement = statement.where(TestPlan.id < before)
    return connection.execute(statement.limit(limit)).all()


def tallies(connection: Connection, plan: int) -> Sequence[Record]:
    """Count the entries of a plan, as :meth:`labapi.plans.tally.Tally.of` takes them.

    :returns: with ``test_case`` and ``step``, in their order
    """
    return connection.execute(_TALLIES, {"plan": plan}).all()


def entries(
    connection: Connection,
    plan: int,
    filters: Mapping[str, Any],
    *,
    after: int,
    limit: int,
) -> tuple[Sequence[Record], bool]:
    """Return entries of a plan in their order.

    There are fewer than ``limit`` if together they have more than ``PAGE_BYTES``, but at least one.

    :param filters: column → value it must have
    :param after: the ``number`` of the last entry on the page before
    :returns: their columns and those of their newest cases, ``case_host``, ``case_parameters``,
        ``case_placement``, ``case_output_size``, ``case_started_at``; and whether there are more
    """
    sizes = _SIZES.where(*[getattr(PlanEntry, name) == filters[name] for name in filters])
    values = {"plan": plan, "after": after, "limit": limit + 1}
    found = connection.execute(sizes, values).all()
    sums = itertools.accumulate(size for _, size in found)
    ids = [row.id for row, total in zip(found[:limit], sums, strict=False) if total <= PAGE_BYTES]
    ids = ids or [row.id for row in found[:1]]
    rows = connection.execute(_ENTRIES, {"ids": ids}).all() if ids else []
    return rows, len(found) > len(ids)


def metadata(connection: Connection, hosts: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the metadata of hosts by name, of those too that are off the list."""
    return {row.host: row.meta for row in connection.execute(_METADATA, {"hosts": list(hosts)})}
