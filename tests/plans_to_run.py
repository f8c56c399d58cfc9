"""Rows of test plans, as the API makes them of documents: nothing has run yet."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from labapi.db import plans
from labapi.db.models import PlanEntry, TestPlan
from labapi.db.session import Database, Record
from labapi.plans.entry import Rules


def entry(number: int, turn: int, **values: Any) -> dict[str, Any]:
    """Return an entry of the first step of the first test case.

    :param values: ``host`` and other columns of its case, and of the entry; ``rules`` is ``Rules``
    """
    of_case = {name: values.pop(name) for name in ("host", "parameters") if name in values}
    of_case |= values.pop("columns", {})
    rules = msgspec.to_builtins(values.pop("rules", Rules()))
    columns = {"plugin": "linux_system", "method": "run_shell", "parameters": {}, "timeout": 10.0}
    usual = {"number": number, "turn": turn, "test_case": 0, "step": 0, "name": str(number)}
    return {**usual, "columns": {**columns, **of_case}, "rules": rules, **values}


def serial(*entries: dict[str, Any]) -> list[dict[str, Any]]:
    """Return entries without a turn, such as ``{"host": "a"}``, one after another."""
    return [entry(n, n - 1, **values) for n, values in enumerate(entries, 1)]


def parallel(*entries: dict[str, Any]) -> list[dict[str, Any]]:
    """Return entries without a turn, all of the same."""
    return [entry(n, 0, **values) for n, values in enumerate(entries, 1)]


def outline(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the outline of the test cases and steps that entries are in."""
    steps: dict[int, int] = {}
    for one in entries:
        steps[one["test_case"]] = max(one["step"], steps.get(one["test_case"], 0))
    return [
        {
            "name": str(test_case + 1),
            "description": None,
            "steps": [
                {"name": f"Serial-Step-{step + 1}", "description": None}
                for step in range(steps.get(test_case, 0) + 1)
            ],
        }
        for test_case in range(max(steps, default=0) + 1)
    ]


def add(database: Database, entries: Sequence[dict[str, Any]], **values: Any) -> str:
    """Add a plan; return its UUID.

    :param values: columns of the plan
    """
    usual = {
        "uuid": str(uuid.uuid4()),
        "project_id": "lab",
        "user_id": "somebody",
        "request_id": "req-plan",
        "name": "a plan",
        "document": {},
        "outline": outline(entries),
        "stop_on_fail": False,
        "notify": None,
        "created_at": datetime.datetime.now(datetime.UTC),
    }
    return database.write(plans.create, {**usual, **values}, entries)


def plan(database: Database, uuid: str) -> Record:
    """Return a plan's row."""
    return database.read(_plan, uuid)


def entries(database: Database, uuid: str) -> list[Record]:
    """Return the rows of a plan's entries, in their order."""
    return database.read(_entries, uuid)


def _plan(connection: Connection, uuid: str) -> Record:
    query = select(*TestPlan.__table__.columns).where(TestPlan.uuid == uuid)
    return connection.execute(query).one()


def _entries(connection: Connection, uuid: str) -> list[Record]:
    query = (
        select(*PlanEntry.__table__.columns)
        .join(TestPlan, TestPlan.id == PlanEntry.plan_id)
        .where(TestPlan.uuid == uuid)
        .order_by(PlanEntry.number)
    )
    return list(connection.execute(query).all())
