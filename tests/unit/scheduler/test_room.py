from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from labapi import config
from labapi.scheduler.room import Room
from labapi.servicegroup import driver

NOW = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)


def host(**values: Any) -> Any:
    up = {"last_seen_at": NOW, "stopped": False, "disabled": False}
    return SimpleNamespace(**{"host": "lab-1", "slots": 4, "active": 0, **up, **values})


@pytest.mark.parametrize(
    ("row", "cases"),
    [
        (host(), 6),
        (host(active=5), 1),
        (host(active=6), 0),
        (host(active=9), 0),
        (host(slots=0), 2),
        (host(disabled=True), 0),
        (host(disabled=None), 6),
        (host(stopped=True), 0),
        (host(last_seen_at=None), 0),
        (host(last_seen_at=NOW - datetime.timedelta(seconds=61)), 0),
    ],
)
def test_a_host_has_room_up_to_its_slots_and_what_is_given_ahead(row: Any, cases: int) -> None:
    conf = config.new(scheduler__dispatch_ahead=2)
    conf([], project="labapi", default_config_files=[])
    assert Room(conf, driver.load(conf)).of(row, NOW) == cases
