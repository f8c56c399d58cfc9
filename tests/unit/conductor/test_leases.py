"""Leases that name no hosts find them, and all of them end."""

from __future__ import annotations

import datetime
import threading
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from labapi import config
from labapi.api.views import leases as views
from labapi.case import State
from labapi.conductor.leases import Leases
from labapi.db import health, hosts, leases, services
from labapi.db.leases import LeaseState
from labapi.db.session import Database, Record
from labapi.scheduler.host_manager import HostManager
from labapi.scheduler.spec import Placement, stored
from labapi.servicegroup import driver
from tests.hosts import announce, beat, make_lease
from tests.unit.db.test_testcases import add

NOW = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)


def after(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


class Yard:
    """Hosts in a rack of a test's own, and a conductor's look at leases."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rack = f"r{uuid.uuid4().hex[:8]}"
        self.names: list[str] = []
        self._made: list[Record] = []

    def hosts(self, count: int) -> list[str]:
        for _ in range(count):
            name = announce(self.database, f"{self.rack}-{len(self.names)}", NOW, slots=2)
            beat(self.database, name, NOW)
            row = self.database.read(hosts.named, name)
            assert row is not None
            self.database.write(hosts.change_meta, row.id, lambda _: {"rack": self.rack})
            self.names.append(name)
        return self.names[-count:]

    def lease(self, count: int, project: str = "p", **values: Any) -> str:
        row = {
            "project_id": f"{project}-{self.rack}",
            "count": count,
            "placement": stored(Placement(requires=(f"rack={self.rack}",))),
        }
        made = make_lease(self.database, None, NOW, **{**row, **values})
        self._made.append(self.get(made))
        return made

    def get(self, lease: str) -> Record:
        found = self.database.read(leases.get, lease)
        assert found is not None
        return found

    def of(self, lease: str) -> list[str] | None:
        hosts: list[str] | None = self.get(lease).hosts
        return hosts

    def conductor(self) -> Leases:
        conf = config.new(scheduler__refresh_interval=0.1)
        conf([], project="labapi", default_config_files=[])
        manager = HostManager(conf, self.database, driver.load(conf))
        return Leases(conf, self.database, manager)

    def sweep(self, moment: datetime.datetime = NOW) -> None:
        self.conductor().sweep(moment)

    def end(self, lease: str) -> None:
        self.database.write(leases.end, self.get(lease).id, NOW, "u")

    def tidy(self) -> None:
        for lease in self._made:
            self.end(lease.uuid)


@pytest.fixture
def yard(database: Database) -> Any:
    yard = Yard(database)
    yield yard
    yard.tidy()


def test_it_takes_so_many_hosts_as_fulfil_what_it_asks_for(yard: Yard) -> None:
    names = yard.hosts(3)
    lease = yard.lease(2)
    yard.sweep()
    found = yard.get(lease)
    assert (found.state, found.starts_at) == (LeaseState.ACTIVE, NOW)
    assert len(found.hosts) == 2
    assert set(found.hosts) < set(names)
    assert yard.database.read(leases.held, found.id) == found.hosts


@pytest.mark.parametrize(
    "text", ['{"requires": 5}', "[]", "{", '"x"', '{"requires": ["rack=="]}', f'"{"x" * 400}"']
)
def test_one_that_cannot_be_read_ends_and_keeps_nobody_waiting(
    yard: Yard, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    names = yard.hosts(1)
    broken, other = yard.lease(1), yard.lease(1, "q")
    change = sa.text("UPDATE leases SET placement = :text WHERE uuid = :uuid")
    yard.database.write(lambda c: c.execute(change, {"text": text, "uuid": broken}))
    yard.sweep()
    assert yard.of(other) == names
    ended = yard.get(broken)
    assert ended.state == LeaseState.ENDED
    assert ended.ended_by.startswith("labapi: what it asks of its hosts cannot be read: ")
    assert views.lease(ended)["requires"] in ([], 5, ["rack=="])
    yard.sweep()
    assert caplog.text.count("cannot be read") == 1


def test_it_waits_for_all_of_its_hosts_and_takes_none_before(yard: Yard) -> None:
    yard.hosts(1)
    lease = yard.lease(2)
    yard.sweep()
    assert (yard.get(lease).state, yard.of(lease)) == (LeaseState.WAITING, None)
    names = yard.hosts(1)
    yard.sweep()
    assert yard.of(lease) == sorted({*yard.names, *names})


def test_idle_hosts_come_first_and_full_ones_are_waited_for(yard: Yard) -> None:
    full, idle = yard.hosts(2)
    for _ in range(4):
        add(yard.database, full, project_id="q", state=State.RUNNING, attempt="a")
    first, second = yard.lease(1), yard.lease(1)
    yard.sweep()
    assert (yard.of(first), yard.get(first).state) == ([idle], LeaseState.ACTIVE)
    assert (yard.of(second), yard.get(second).state) == ([full], LeaseState.WAITING)


def test_hosts_that_are_down_disabled_or_benched_are_not_taken(yard: Yard) -> None:
    down, disabled, bad = yard.hosts(3)
    yard.database.write(services.beat, services.AGENT, {down: None}, NOW, stopped=True)
    switch = {"disabled": True, "reason": None}
    yard.database.write(services.switch, services.AGENT, disabled, **switch)
    yard.database.write(health.bench, bad, NOW, "loud", "alice")
    lease = yard.lease(1)
    yard.sweep()
    assert yard.of(lease) is None


def test_a_younger_one_does_not_take_what_an_older_one_waits_for(yard: Yard) -> None:
    yard.hosts(1)
    large, small = yard.lease(2), yard.lease(1, "q")
    yard.sweep()
    assert (yard.of(large), yard.of(small)) == (None, None)
    yard.hosts(1)
    yard.sweep()
    assert (len(yard.of(large) or ()), yard.of(small)) == (2, None)
    yard.end(large)
    yard.sweep()
    assert yard.get(small).state == LeaseState.ACTIVE


def test_many_that_nothing_fits_keep_no_other_project_from_its_hosts(yard: Yard) -> None:
    yard.hosts(1)
    nowhere = stored(Placement(zone="nowhere"))
    for _ in range(25):
        yard.lease(1, "greedy", placement=nowhere)
    modest = yard.lease(1, "modest")
    yard.sweep()
    assert yard.get(modest).state == LeaseState.ACTIVE


def test_two_conductors_at_once_give_each_host_to_one_lease(yard: Yard) -> None:
    yard.hosts(4)
    made = [yard.lease(2, "p"), yard.lease(2, "q"), yard.lease(1, "r")]
    conductors = [yard.conductor(), yard.conductor()]
    start = threading.Barrier(2)

    def sweep(conductor: Leases) -> None:
        start.wait()
        for _ in range(5):
            conductor.sweep(NOW)

    threads = [threading.Thread(target=sweep, args=(one,)) for one in conductors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    yard.sweep()  # what was chosen from an old view is chosen anew
    taken = [host for lease in made for host in yard.of(lease) or ()]
    assert sorted(taken) == sorted(yard.names)
    assert yard.of(made[2]) is None


def test_it_ends_when_its_time_is_over_or_it_could_not_begin(yard: Yard) -> None:
    (host,) = yard.hosts(1)
    short, long = yard.lease(1), yard.lease(1)
    yard.sweep()
    yard.sweep(after(59))
    assert yard.get(short).state == LeaseState.ACTIVE
    yard.database.write(services.beat, services.AGENT, {host: None}, after(59), stopped=True)
    yard.sweep(after(60))
    ended = yard.get(short)
    assert (ended.state, ended.ended_by) == (LeaseState.ENDED, "labapi: its time was over")
    week = 7 * 86400.0
    yard.sweep(after(week - 1))
    assert yard.get(long).state == LeaseState.WAITING
    yard.sweep(after(week))
    ended = yard.get(long)
    assert (ended.state, ended.ended_by) == (
        LeaseState.ENDED,
        "labapi: it could not begin in time",
    )
