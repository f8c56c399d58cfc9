"""That a host is down, and that it is up again, is said once."""

from __future__ import annotations

import datetime
import re
import uuid

import pytest

from labapi.db import purge, services
from tests.unit.conductor.conftest import Parts

SECOND = datetime.timedelta(seconds=1)


def said(caplog: pytest.LogCaptureFixture, host: str) -> list[str]:
    """Return what was said of a host, without the times."""
    lines = [r.getMessage() for r in caplog.records if r.name == "labapi.conductor.watch"]
    caplog.clear()
    times = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
    return [times.sub("T", line).replace(host, "H") for line in lines if host in line]


def test_a_host_goes_and_comes(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    parts.add()
    parts.dispatcher.dispatch([parts.host])
    moment = datetime.datetime.now(datetime.UTC)
    parts.beat(parts.host, moment)
    parts.sweep(moment + 2 * SECOND)
    assert said(caplog, parts.host) == []
    for later in (70, 76, 82):
        parts.sweep(moment + later * SECOND)
    assert said(caplog, parts.host) == ["host H is down: last heard of at T; cases that it has: 1"]
    for later in (90, 96):
        parts.beat(parts.host, moment + later * SECOND)
        parts.sweep(moment + later * SECOND)
    assert said(caplog, parts.host) == ["host H is up again; cases that it has: 1"]
    parts.beat(parts.host, moment + 100 * SECOND, stopped=True)
    parts.sweep(moment + 102 * SECOND)
    assert said(caplog, parts.host) == [
        "host H is down: its agent was told to stop, last heard of at T; cases that it has: 1"
    ]


def test_a_host_that_is_off_the_list_is_forgotten(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    moment = datetime.datetime.now(datetime.UTC)
    parts.sweep(moment)
    parts.beat(parts.host, moment, stopped=True)
    parts.sweep(moment + 6 * SECOND)
    assert said(caplog, parts.host) == [
        "host H is down: its agent was told to stop, last heard of at T; cases that it has: 0"
    ]
    parts.database.write(purge.delete_host, parts.host)
    parts.sweep(moment + 12 * SECOND)
    parts.announce(parts.host)
    parts.beat(parts.host, moment + 18 * SECOND)
    parts.sweep(moment + 18 * SECOND)
    assert said(caplog, parts.host) == []


def test_a_switch_that_fails_is_one_line(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    moment = datetime.datetime.now(datetime.UTC)
    parts.sweep(moment)
    names = [f"rack-{uuid.uuid4().hex[:8]}" for _ in range(30)]
    for name in names:
        parts.announce(name)
    parts.database.write(services.beat, services.AGENT, dict.fromkeys(names), moment)
    parts.sweep(moment + 30 * SECOND)
    caplog.clear()
    parts.beat(parts.host, moment + 70 * SECOND)
    parts.sweep(moment + 70 * SECOND)
    parts.database.write(services.beat, services.AGENT, dict.fromkeys(names), moment + 80 * SECOND)
    parts.beat(parts.host, moment + 80 * SECOND)
    parts.sweep(moment + 80 * SECOND)
    lines = [r.getMessage() for r in caplog.records if r.name == "labapi.conductor.watch"]
    told = [line.partition(":")[0] for line in lines if names[0] in line or "hosts are" in line]
    assert told == ["30 hosts are down", "30 hosts are up again"]
