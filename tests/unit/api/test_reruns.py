"""Running a plan again that is about to go."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from labapi.api.reruns import Reruns
from labapi.case import Result
from labapi.db import plans, testplans
from labapi.db.purge import Old, Purge
from labapi.db.session import Database
from labapi.exceptions import NotFound
from tests import plans_to_run

NOW = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)


def test_a_plan_that_is_purged_meanwhile_is_not_there(database: Database) -> None:
    plan = plans_to_run.add(database, plans_to_run.serial({}), created_at=NOW)
    database.write(plans.finish, plans_to_run.plan(database, plan).id, Result.PASS, NOW)
    seen = database.read(testplans.get, plan)
    assert seen is not None
    Purge(database).cases(Old(NOW + datetime.timedelta(days=1)))
    nothing: Any = None
    with pytest.raises(NotFound, match="purged"):
        Reruns(database, nothing).of(nothing, seen, only_failed=False)
