"""Running a test plan again, whole or what did not pass of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labapi.api.new_plans import NewPlan, NewPlans
from labapi.api.request import Request
from labapi.case import State
from labapi.db import testplans
from labapi.db.session import Database, Record
from labapi.exceptions import Conflict, Forbidden, NotFound

# What became of an entry.
_BECAME = (
    *("state", "result", "reason", "detail", "case", "tries", "exit_code"),
    *("started_at", "finished_at"),
)


class Reruns:
    """Makes plans of what other plans were made of."""

    def __init__(self, database: Database, new: NewPlans) -> None:
        self._database = database
        self._new = new

    def of(self, request: Request, plan: Record, *, only_failed: bool) -> NewPlan:
        """Return the rows of a plan that runs another one again, checked as a new one is.

        :param only_failed: what passed is taken over
        :raises BadPlan: it cannot run any longer
        :raises Conflict: the other plan is not finished, or there is nothing to run
        :raises Forbidden: what would be taken over is another project's
        :raises NotFound: the other plan has just been purged
        """
        if plan.state != State.FINISHED:
            raise Conflict(f"test plan {plan.uuid} is not finished; wait for it, or cancel it")
        if only_failed and plan.project_id != request.context.project_id:
            raise Forbidden(
                f"only: what passed of test plan {plan.uuid} is another project's to see; run all"
            )
        former = self._database.read(testplans.document, plan.id)
        if former is None:
            raise NotFound(f"test plan {plan.uuid} has just been purged")
        new = self._new.of(request, former.document)
        new.row["rerun_of"] = plan.uuid
        if only_failed:
            passed = self._database.read(testplans.passed, plan.id)
            new.row["registered"] = _take_over(plan.outline, passed, new, former.registered)
            if all(entry["state"] == State.FINISHED for entry in new.entries):
                raise Conflict(f"all of test plan {plan.uuid} has passed; there is nothing to run")
        return new


def _take_over(
    outline: Sequence[Mapping[str, Any]],
    passed: Sequence[Record],
    new: NewPlan,
    registered: Mapping[str, Any],
) -> dict[str, Any]:
    """Make of entries that passed in another plan what they became there.

    :param outline: of the other plan
    :returns: what they registered
    """
    known = {_place(outline, row._asdict()): row for row in passed}
    names = []
    for entry in new.entries:
        row = known.get(_place(new.row["outline"], entry))
        if row is not None:
            entry.update({name: getattr(row, name) for name in _BECAME})
            names.append(entry["rules"].get("register"))
        else:
            entry.update(dict.fromkeys(_BECAME), state=State.QUEUED, tries=0)
    return {name: registered[name] for name in names if name in registered}


def _place(outline: Sequence[Mapping[str, Any]], entry: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return how a plan calls an entry; its numbers change with the hosts that there are."""
    test_case = outline[entry["test_case"]]
    return test_case["name"], test_case["steps"][entry["step"]]["name"], entry["name"]
