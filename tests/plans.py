"""Rows of test plans, as they are once their cases have run."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select

from labapi.case import Result, State
from labapi.db import hosts, outputs, testcases
from labapi.db.models import PlanEntry, TestCase, TestPlan
from labapi.db.session import Database, Record
from labapi.plans.entry import Rules
from tests.hosts import announce

NOW = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)


def after(seconds: float) -> datetime.datetime:
    """Return the time so many seconds after ``NOW``."""
    return NOW + datetime.timedelta(seconds=seconds)


def step(name: str, *entries: dict[str, Any], description: str | None = None) -> dict[str, Any]:
    """Return a step of :func:`add`."""
    return {"name": name, "description": description, "entries": list(entries)}


def entry(result: str | None = Result.PASS, output: str | bytes = "", **values: Any) -> Any:
    """Return an entry of :func:`add`, one that has run; ``host`` is where.

    :param values: columns of the entry, or of its case, ``queue_rank`` and the like
    """
    return {"result": result, "output": output, **values}


def waiting(**values: Any) -> Any:
    """Return an entry of :func:`add` that has not begun."""
    return {"result": None, "output": "", "state": State.QUEUED, "tries": 0, **values}


def add(
    database: Database, test_cases: dict[str, Sequence[dict[str, Any]]], **values: Any
) -> Record:
    """Write a plan down with its entries, their cases and what these wrote.

    :param test_cases: their steps by name
    :param values: columns of the plan
    """
    outline = [
        {
            "name": name,
            "description": None,
            "steps": [{key: step[key] for key in ("name", "description")} for step in steps],
        }
        for name, steps in test_cases.items()
    ]
    plan = {
        "uuid": str(uuid.uuid4()),
        "project_id": "p",
        "user_id": "u",
        "request_id": "req-1",
        "name": "two stations",
        "document": {},
        "outline": outline,
        "registered": {},
        "state": State.FINISHED,
        "result": Result.PASS,
        "created_at": NOW,
        "started_at": after(1),
        "finished_at": after(60),
        **values,
    }
    flat = [
        (case, number, entry)
        for case, steps in enumerate(test_cases.values())
        for number, step in enumerate(steps)
        for entry in step["entries"]
    ]

    def write(connection: Connection) -> Any:
        connection.execute(insert(TestPlan), plan)
        row = connection.execute(select(TestPlan.__table__).filter_by(uuid=plan["uuid"])).one()
        rows = [
            _entry(row, number, case, step, entry)
            for number, (case, step, entry) in enumerate(flat, 1)
        ]
        connection.execute(insert(PlanEntry), [found for found, _ in rows])
        ran = [found for _, found in rows if found is not None]
        if ran:
            connection.execute(insert(TestCase), ran)
        written = {
            found["uuid"]: entry["output"]
            for (_, found), (*_, entry) in zip(rows, flat, strict=True)
            if found is not None and entry["output"]
        }
        _write_outputs(connection, written)
        return row

    made: Record = database.write(write)
    return made


def host(database: Database, name: str, **metadata: str) -> str:
    """Add a host with its metadata."""
    announce(database, name, NOW, agent=name, slots=2)
    if metadata:
        row = database.read(hosts.named, name)
        assert row is not None
        database.write(hosts.change_meta, row.id, lambda _: metadata)
    return name


def _entry(plan: Any, number: int, case: int, step: int, given: dict[str, Any]) -> tuple[Any, Any]:
    begun = given.get("state", State.FINISHED) in (State.FINISHED, State.RUNNING)
    what = {
        "plugin": given.get("plugin", "linux_system"),
        "method": given.get("method", "run_shell"),
        "host": given.get("host", "lab-1"),
        "parameters": given.get("parameters", {"command": "true"}),
        "timeout": 600.0,
        "placement": given.get("placement"),
        "queue_rank": 0,
        "rerun_on_loss": False,
    }
    ended = {
        "result": given["result"],
        "reason": given.get("reason"),
        "detail": given.get("detail"),
        "exit_code": given.get("exit_code"),
        "started_at": after(number) if begun else None,
        "finished_at": after(number + 2.5) if given["result"] else None,
    }
    made = str(uuid.uuid4()) if begun else None
    row = {
        "plan_id": plan.id,
        "number": number,
        "turn": number,
        "test_case": case,
        "step": step,
        "name": given.get("name", str(number)),
        "description": given.get("description"),
        "always": given.get("always", False),
        "columns": what,
        "rules": given.get("rules", Rules()),
        "state": given.get("state", State.FINISHED),
        "case": made,
        "tries": given.get("tries", 1),
        **ended,
        "started_at": ended["started_at"] if given["result"] else None,  # written when it ends
    }
    if not begun:
        return row, None
    output = given["output"]
    size = len(output.encode() if isinstance(output, str) else output)
    return row, what | ended | {
        "uuid": made,
        "plan": plan.uuid,
        "project_id": plan.project_id,
        "user_id": plan.user_id,
        "request_id": plan.request_id,
        "state": row["state"],
        "created_at": NOW,
        "parameters": given.get("ran", what["parameters"]),
        "output_size": given.get("output_size", size),
        "output_sent": given.get("output_size", size),
    }


def _write_outputs(connection: Connection, written: dict[str, Any]) -> None:
    ids = {case: testcases.get(connection, case) for case in written}
    outputs.add(
        connection,
        [
            (row.id, 0, text.encode() if isinstance(text, str) else text)
            for row, text in ((ids[case], text) for case, text in written.items())
            if row is not None
        ],
    )
