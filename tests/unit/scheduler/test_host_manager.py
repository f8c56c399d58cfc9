"""What a process knows of all hosts, over every database."""

from __future__ import annotations

import datetime
import threading
import uuid
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from labapi import config
from labapi.db import groups, host_states, hosts, removal, services, testcases
from labapi.db.models import Host, HostFault, Lease, Service
from labapi.db.session import Database
from labapi.rpc.messages import MethodDescription
from labapi.scheduler import host_manager
from labapi.scheduler.host_manager import HostManager
from labapi.scheduler.host_state import HeldBy, HostState
from labapi.servicegroup import driver
from tests.hosts import announce

NOW = datetime.datetime.now(datetime.UTC)
LATER = NOW + datetime.timedelta(seconds=30)


class Known:
    """A manager that reads again whenever it is asked, and hosts for it."""

    def __init__(self, database: Database) -> None:
        conf = config.new(scheduler__refresh_interval=600.0)
        conf([], project="labapi", default_config_files=[])
        self.database = database
        self.manager = HostManager(conf, database, driver.load(conf))
        self.name = f"host-{uuid.uuid4().hex[:8]}"
        self.announce(self.name)

    def announce(self, name: str, **more: Any) -> None:
        plugins = {"linux_system": {"ping": MethodDescription(description="")}}
        announce(self.database, name, **{"slots": 4, "plugins": plugins, **more})
        self.database.write(services.beat, services.AGENT, {name: {"load1": 0.5}}, NOW)

    def look(self, now: datetime.datetime = NOW) -> HostState:
        self.manager.expire()
        with self.manager.hosts(now) as states:
            found = states.named(self.name)
        assert found is not None
        return found

    def execute(self, statement: Any, *values: Any) -> None:
        self.database.write(lambda c: c.execute(statement, *values))

    def set_host(self, **values: Any) -> None:
        self.execute(update(Host).where(Host.host == self.name).values(**values))


@pytest.fixture
def known(database: Database, monkeypatch: pytest.MonkeyPatch) -> Known:
    monkeypatch.setattr(host_manager, "SHARE", 1e9)  # as often as one likes
    return Known(database)


def test_a_host_is_known_with_all_that_decisions_need(known: Known) -> None:
    state = known.look()
    assert (state.slots, state.active, state.free, state.faults) == (4, 0, 4, 0)
    assert (state.up, state.disabled, state.bad, state.held_by) == (True, False, None, None)
    assert (state.zone, state.metadata, state.facts) == ("lab", {}, {"load1": 0.5})
    assert '"ping"' in state.plugins
    assert (state.groups, state.open_to) == (frozenset(), frozenset())


def test_what_changes_is_seen(known: Known) -> None:
    first = known.look()
    known.database.write(hosts.change_meta, first.id, lambda _: {"rack": "r7"})
    known.announce(known.name, slots=7, plugins={})
    switch = {"disabled": True, "reason": "moving"}
    known.database.write(services.switch, services.AGENT, known.name, **switch)
    state = known.look()
    assert (state.metadata, state.slots, state.plugins) == ({"rack": "r7"}, 7, "{}")
    assert state.disabled
    assert not known.look(NOW + datetime.timedelta(seconds=61)).up


def test_a_host_that_is_removed_while_it_is_read_is_left_out(
    known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = f"{known.name}-2"
    known.announce(there)
    wide = host_states.wide

    def late(*asked: Any) -> Any:
        removal.remove(known.database, known.name, NOW)
        return wide(*asked)

    monkeypatch.setattr(host_states, "wide", late)
    with known.manager.hosts(NOW) as states:
        assert (states.named(known.name), states.named(there) is not None) == (None, True)


def test_cases_and_faults_are_counted(known: Known) -> None:
    case = {
        "project_id": "lab",
        "request_id": "req-1",
        "plugin": "linux_system",
        "method": "ping",
        "host": known.name,
        "parameters": {},
        "timeout": 10.0,
        "created_at": NOW,
        "idempotency": None,
    }
    for kind in ("running", "cancelling", "queued", "finished"):
        row = {**case, "uuid": str(uuid.uuid4()), "state": kind}
        known.database.insert(testcases.create, row)
    long_ago = NOW - datetime.timedelta(seconds=3601)
    for at in (NOW, NOW, long_ago):
        fault = {"host": known.name, "at": at, "testcase": str(uuid.uuid4())}
        known.execute(insert(HostFault), fault)
    state = known.look()
    assert (state.active, state.faults) == (2, 2)


def test_groups_leases_and_benches_are_known(known: Known) -> None:
    name = f"g-{known.name}"
    values = {"name": name, "meta": {}, "health_case": None}
    known.database.write(groups.create, values, [known.name], ["lab", "ci"], NOW)
    lease = {
        "id": int(known.name[5:], 16) >> 1,
        "uuid": str(uuid.uuid4()),
        "project_id": "lab",
        "request_id": "req-1",
        "count": 1,
        "state": "active",
        "created_at": NOW,
        "ends_at": LATER,
    }
    known.execute(insert(Lease), lease)
    known.set_host(lease_id=lease["id"], bad_since=NOW, bad_reason="three faults")
    state = known.look()
    assert state.groups == {name}
    assert state.open_to == {"lab", "ci"}
    assert state.held_by == HeldBy(lease["uuid"], "lab", LATER)
    assert state.bad == "three faults"


def test_a_host_that_is_taken_off_the_list_is_forgotten(known: Known) -> None:
    first = known.look()
    known.announce("another")
    known.execute(delete(Host).where(Host.host == known.name))
    known.manager.expire()
    with known.manager.hosts(NOW) as states:
        assert states.get(first.id) is None
        assert states.named("another") is not None


def test_hosts_that_announce_the_same_share_one_text(known: Known) -> None:
    known.announce(f"{known.name}-twin")
    first = known.look()
    with known.manager.hosts(NOW) as states:
        twin = states.named(f"{known.name}-twin")
    assert twin is not None
    assert twin.plugins is first.plugins


def test_facts_are_read_in_turns(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        known.announce(f"{known.name}-{number}")
    known.look()
    monkeypatch.setattr(host_manager, "FACTS", 2)
    with known.manager.hosts(NOW) as states:
        facts = {host.host: {"load1": float(host.id)} for host in states}
    known.database.write(services.beat, services.AGENT, facts, NOW)
    for _ in range(len(facts) // 2 + 2):
        known.look()
    with known.manager.hosts(NOW) as states:
        assert {host.host: host.facts for host in states} == facts


def test_it_is_read_no_oftener_than_it_may_be(
    known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_manager, "SHARE", 1e-9)
    known.look()
    known.manager.expire()
    read_at = known.manager.read_at
    with known.manager.hosts(LATER, since=LATER):
        pass
    assert known.manager.read_at == read_at


def test_it_is_read_again_for_who_wants_to_know_of_a_later_time(known: Known) -> None:
    known.look()
    with known.manager.hosts(LATER, since=NOW):
        pass
    assert known.manager.read_at == NOW
    with known.manager.hosts(LATER, since=LATER):
        pass
    assert known.manager.read_at == LATER


def test_one_thread_has_the_states_at_a_time(known: Known) -> None:
    seen = threading.Event()

    def look() -> None:
        with known.manager.hosts(NOW):
            seen.set()

    with known.manager.hosts(NOW):
        other = threading.Thread(target=look)
        other.start()
        assert not seen.wait(0.1)
    other.join(10)
    assert seen.is_set()


def test_who_trusts_no_conductor_is_seen(known: Known) -> None:
    def signs(*keys: str | None) -> None:
        for number, key in enumerate(keys):
            name = f"{known.name}-brain-{number}"
            beat: dict[str, dict[str, Any] | None] = {name: {services.SIGNING_KEY: key}}
            known.database.write(services.beat, services.CONDUCTOR, beat, NOW)

    known.execute(delete(Service).where(Service.binary == services.CONDUCTOR))
    known.announce(known.name, trusted_keys=["1" * 16, "2" * 16])
    assert known.look().trusts  # nobody knows otherwise
    signs("3" * 16)
    assert not known.look().trusts
    signs(None)
    assert not known.look().trusts
    signs("3" * 16, "2" * 16)
    assert known.look().trusts
    known.announce(known.name)
    signs("3" * 16, None)
    assert known.look().trusts
    known.execute(delete(Service).where(Service.binary == services.CONDUCTOR))
