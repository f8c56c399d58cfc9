"""What a POST of a test plan makes: the rows of the plan and of its entries."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from oslo_config import cfg

from labapi.api.plan_cases import PATIENCE, PlanCases
from labapi.api.request import Request
from labapi.api.schemas import testplans
from labapi.api.where import Where
from labapi.db.session import Database
from labapi.plans import grammar
from labapi.plans.entries import Limits
from labapi.plans.entry import Entry
from labapi.plans.grammar import Plan
from labapi.plans.problems import Problems
from labapi.scheduler.requests import shape

_NOT_LOOKED_AT = dict.fromkeys(("hosts", "count", "turned_away", "nearest"))

_encode = msgspec.json.Encoder().encode


class NewPlan(NamedTuple):
    """A plan that can run.

    :ivar row: its columns
    :ivar entries: those of its entries
    """

    row: dict[str, Any]
    entries: list[dict[str, Any]]


class NewPlans:
    """Makes plans of documents, after checking everything that can be checked.

    :param conf: configuration with the group ``[api]``
    """

    def __init__(self, conf: cfg.ConfigOpts, database: Database, where: Where) -> None:
        self._conf = conf
        self._database = database
        self._where = where

    def of(self, request: Request, document: Mapping[str, Any]) -> NewPlan:
        """Return the rows of a plan.

        :raises BadPlan: it cannot run; ``errors`` has everything that is wrong with it
        """
        plan, columns, _ = self._read(request, document)
        context = request.context
        row = {
            "uuid": str(uuid.uuid4()),
            "project_id": context.project_id,
            "user_id": context.user_id,
            "request_id": context.request_id,
            "name": plan.name,
            "document": document,
            "outline": plan.outline,
            "stop_on_fail": plan.stop_on_fail,
            "notify": plan.notify or None,
            "created_at": datetime.datetime.now(datetime.UTC),
        }
        pairs = zip(plan.entries, columns, strict=True)
        return NewPlan(row, [_row(entry, case) for entry, case in pairs])

    def dry_run(self, request: Request, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return where each entry of a plan could run now; nothing is made.

        :returns: ``hosts`` and the rest as for a case; None of them of entries that come after so
            many others that there was no time to look
        :raises BadPlan: as with :meth:`of`
        """
        plan, columns, cases = self._read(request, document)
        until = time.thread_time() + PATIENCE
        known: dict[tuple[str | None, bytes], dict[str, Any]] = {}
        shown = []
        for entry, case in zip(plan.entries, columns, strict=True):
            asked, host = cases.spec(entry), case["host"]
            # Parameters fit already; without them many entries ask for the same.
            asked = msgspec.structs.replace(asked, parameters=None)
            key = (host, shape(asked))
            if key not in known and time.thread_time() < until:
                named = None if host is None else [host]
                known[key] = self._where.shown(request, asked, named)
            shown.append({"path": entry.path} | known.get(key, _NOT_LOOKED_AT))
        return {"name": plan.name, "entries": shown}

    def _read(
        self, request: Request, document: Mapping[str, Any]
    ) -> tuple[Plan, list[dict[str, Any]], PlanCases]:
        problems, conf = Problems(), self._conf.api
        limits = Limits(conf.max_plan_entries, conf.max_plan_size, conf.max_json_depth)
        cases = PlanCases(self._conf, self._database, self._where, request, problems)
        plan = grammar.read(document, testplans.fields(), limits, cases.every, problems)
        columns = cases.columns(plan)
        size = len(_encode(document)) + len(_encode(plan.outline))
        if size > conf.max_plan_size:
            problems.add("", f"with its descriptions it has {size} bytes, more than {limits.size}")
        problems.check()
        return plan, columns, cases


def _row(entry: Entry, columns: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": entry.number,
        "turn": entry.turn,
        "test_case": entry.test_case,
        "step": entry.step,
        "name": entry.name,
        "description": entry.description,
        "always": entry.always,
        "columns": columns,
        "rules": msgspec.to_builtins(entry.rules),
    }
