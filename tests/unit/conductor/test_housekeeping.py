"""What is kept, and for how long."""

from __future__ import annotations

import datetime
import logging
import uuid

import pytest

from labapi import config
from labapi.case import Result, State
from labapi.conductor.housekeeping import Housekeeping
from labapi.db import leases, testcases
from labapi.db.session import Database
from tests.lab import until
from tests.unit.db.test_purge import ended_lease
from tests.unit.db.test_testcases import add

DAY = datetime.timedelta(days=1)


def keeping(database: Database, **options: float) -> Housekeeping:
    conf = config.new(**{f"conductor__{name}": days for name, days in options.items()})
    conf([], project="labapi", default_config_files=[])
    return Housekeeping(conf, database)


def ended(database: Database, days: float) -> str:
    at = datetime.datetime.now(datetime.UTC) - days * DAY
    return add(
        database,
        f"h-{uuid.uuid4().hex[:8]}",
        state=State.FINISHED,
        result=Result.PASS,
        created_at=at,
        finished_at=at,
    )


def test_by_itself_everything_is_kept_and_that_is_said(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    case = ended(database, 10_000)
    caplog.set_level(logging.INFO)
    keeper = keeping(database)
    keeper.start()
    keeper.stop()
    assert not keeper.is_alive()
    assert (
        "kept for ever: [conductor] keep_cases, keep_output, keep_leases, keep_hosts" in caplog.text
    )
    assert database.read(testcases.get, case) is not None


def test_what_is_older_goes_by_itself(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    old, young = ended(database, 31), ended(database, 29)
    caplog.set_level(logging.INFO)
    lease = ended_lease(database, datetime.datetime.now(datetime.UTC) - 15 * DAY)
    keeper = keeping(database, keep_cases=30, keep_output=7, keep_leases=14, keep_hosts=60)
    keeper.start()
    try:
        until(lambda: database.read(testcases.get, old) is None)
        until(lambda: database.read(leases.get, lease) is None)
    finally:
        keeper.stop()
    assert "kept for ever" not in caplog.text
    assert database.read(testcases.get, young) is not None
