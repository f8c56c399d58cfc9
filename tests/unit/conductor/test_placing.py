"""From a waiting row without a host to a command, over every database."""

from __future__ import annotations

import datetime
import threading
import time
import uuid
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import insert, update

from labapi.case import Reason, Result, State
from labapi.db import attempts, groups, leases, queue, services
from labapi.db.models import Host, Lease
from labapi.db.session import Database
from labapi.rpc.messages import CaseChanged, CaseResult, RunCase, Wake
from labapi.rpc.transport import agent_key
from labapi.scheduler import host_manager, spec
from labapi.scheduler.spec import OnNoHost, Placement
from tests.hosts import RUN_SHELL, announce
from tests.lab import claim
from tests.unit.conductor.conftest import Parts


class Scheduled(Parts):
    """A conductor, and hosts of its own that can run a shell."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.group = f"g-{uuid.uuid4().hex[:8]}"
        self.end(self.unfinished())

    def host_with(self, slots: int = 1, **meta: str) -> str:
        name = f"host-{uuid.uuid4().hex[:8]}"
        announce(self.database, name, slots=slots, plugins=RUN_SHELL)
        self.beat(name, datetime.datetime.now(datetime.UTC))
        mine = {"test": self.group, **meta}
        self.set_host(name, meta=mine)
        return name

    def set_host(self, name: str, **values: Any) -> None:
        now = datetime.datetime.now(datetime.UTC)
        change = update(Host).where(Host.host == name).values(changed_at=now, **values)
        self.database.write(lambda c: c.execute(change))

    def ask(self, *requires: str, more: dict[str, Any] | None = None, **placement: Any) -> str:
        """Add a case that takes a host of this test."""
        wanted = Placement(requires=(f"test={self.group}", *requires), **placement)
        values = {"host": None, "placement": spec.stored(wanted), **(more or {})}
        return self.add(**values)

    def wake(self) -> list[RunCase]:
        self.dispatcher.handle([Wake(unplaced=True)])
        commands: list[RunCase] = self.outbox.take(RunCase)
        return commands

    def report(self, command: RunCase, **values: Any) -> list[RunCase]:
        """Have the host report the end of an attempt; return what is sent then."""
        told = {"result": "PASS", "ran": 0.1, **values}
        self.reports.handle(
            [CaseResult(case=command.case, attempt=command.attempt, host=command.host, **told)]
        )
        commands: list[RunCase] = self.outbox.take(RunCase)
        return commands

    def unfinished(self) -> list[str]:
        waiting = [row.uuid for row in self.database.read(queue.unplaced, 0)]
        now = datetime.datetime.now(datetime.UTC)
        return waiting + [row.uuid for row in self.database.read(attempts.active, now)]

    def end(self, cases: list[str]) -> None:
        now = datetime.datetime.now(datetime.UTC)
        states = (State.QUEUED, State.RUNNING, State.CANCELLING)
        self.database.write(
            attempts.finish, cases, now, states=states, result="PASS", reason=None, detail=""
        )


@pytest.fixture
def lab(database: Database, monkeypatch: pytest.MonkeyPatch) -> Scheduled:
    monkeypatch.setattr(host_manager, "SHARE", 1e9)  # the hosts are read as often as one likes
    return Scheduled(database)


def test_a_case_without_a_host_becomes_a_command(lab: Scheduled) -> None:
    host = lab.host_with()
    case = lab.ask(more={"parameters": {"command": "ls"}, "timeout": 7.0})
    (command,) = lab.wake()
    row = lab.get(case)
    assert (row.state, row.host, row.attempts) == (State.RUNNING, host, 1)
    assert (command.case, command.attempt, command.host) == (case, row.attempt, host)
    assert (command.agent, command.parameters, command.timeout) == ("a", {"command": "ls"}, 7.0)
    (news,) = lab.outbox.take(CaseChanged)
    assert (news.case, news.state) == (case, State.RUNNING)


@pytest.mark.parametrize("text", ['{"requires": 5}', "[]", "{", '"x"'])
def test_one_that_cannot_be_read_ends_and_keeps_nobody_waiting(
    lab: Scheduled, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    lab.host_with(slots=2)
    broken, other = lab.ask(), lab.ask()
    change = sa.text("UPDATE testcases SET placement = :text WHERE uuid = :uuid")
    lab.database.write(lambda c: c.execute(change, {"text": text, "uuid": broken}))
    assert [command.case for command in lab.wake()] == [other]
    row = lab.get(broken)
    ended = (State.FINISHED, Result.ERROR, Reason.BAD_DATA)
    assert (row.state, row.result, row.reason) == ended
    assert row.detail.startswith("what it asks of its host cannot be read: ")
    assert lab.wake() == []
    assert caplog.text.count("its placement cannot be read") == 1


def test_it_waits_for_a_free_slot_and_gets_the_next_one(lab: Scheduled) -> None:
    lab.host_with()
    first, second = lab.ask(), lab.ask()
    (command,) = lab.wake()
    assert command.case == first
    assert lab.wake() == []
    (next_one,) = lab.report(command)
    assert next_one.case == second


def test_the_end_of_a_case_asks_nothing_more_while_nobody_waits(lab: Scheduled) -> None:
    lab.host_with()
    lab.ask()
    (command,) = lab.wake()
    assert not lab.dispatcher._placing.waits
    lab.ask()  # nobody said so
    assert lab.report(command) == []
    lab.sweep(datetime.datetime.now(datetime.UTC))
    assert len(lab.outbox.take(RunCase)) == 1


def test_hosts_are_chosen_by_what_is_asked_for(lab: Scheduled) -> None:
    lab.host_with(rack="r1")
    wanted = lab.host_with(rack="r7")
    lab.ask("rack=r7")
    (command,) = lab.wake()
    assert command.host == wanted


def test_a_case_waits_until_all_whose_host_it_shares_have_one(lab: Scheduled) -> None:
    lab.host_with(slots=2)
    placed = lab.ask()
    lab.wake()
    nowhere = lab.ask("rack=r9")
    both = lab.ask(same_host_as=(placed, nowhere))
    one = lab.ask(same_host_as=(placed,))
    assert [command.case for command in lab.wake()] == [one]
    assert lab.get(both).host is None


def test_what_changed_since_the_hosts_were_read_counts(lab: Scheduled) -> None:
    """What is known of a host says where to look, and the claim makes sure."""
    first = lab.host_with(slots=2)
    lab.ask()
    (command,) = lab.wake()
    assert command.host == first
    lab.set_host(first, meta={})
    second = lab.host_with()
    lab.ask()
    (command,) = lab.wake()
    assert command.host == second


@pytest.mark.parametrize("what", ["disabled", "down", "benched", "leased", "grouped"])
def test_a_host_that_takes_nothing_any_more_is_given_nothing(lab: Scheduled, what: str) -> None:
    host = lab.host_with(slots=2)
    lab.ask()
    assert len(lab.wake()) == 1
    now = datetime.datetime.now(datetime.UTC)
    if what == "disabled":
        lab.database.write(services.switch, services.AGENT, host, disabled=True, reason="")
    elif what == "down":
        lab.beat(host, now - datetime.timedelta(seconds=61))
    elif what == "benched":
        lab.database.write(lambda c: c.execute(update(Host).values(bad_since=now)))
    elif what == "leased":
        lease = lease_of("somebody")
        lab.database.write(lambda c: c.execute(insert(Lease), lease))
        lab.database.write(lambda c: c.execute(update(Host).values(lease_id=lease["id"])))
    else:
        values = {"name": lab.group, "meta": {}, "health_case": None}
        lab.database.write(groups.create, values, [host], ["somebody"], now)
    lab.ask()
    assert lab.wake() == []
    lab.sweep(now)
    assert lab.outbox.take(RunCase) == []
    lab.database.write(lambda c: c.execute(update(Host).values(bad_since=None, lease_id=None)))


def lease_of(project: str) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC)
    return {
        "id": uuid.uuid4().int % 2**31,
        "uuid": str(uuid.uuid4()),
        "project_id": project,
        "request_id": "req-1",
        "count": 1,
        "state": "active",
        "created_at": now,
        "starts_at": now,
        "ends_at": now + datetime.timedelta(hours=1),
    }


def test_a_named_case_waits_while_its_host_is_somebody_s(lab: Scheduled) -> None:
    host = lab.host_with(slots=3)
    lease = lease_of("ci")
    lab.database.write(lambda c: c.execute(insert(Lease), lease))
    lab.set_host(host, lease_id=lease["id"])
    own, other = lab.add(host=host, project_id="ci"), lab.add(host=host, project_id="lab")
    lab.dispatcher.dispatch([host])
    assert [c.case for c in lab.outbox.take(RunCase)] == [own]
    lab.set_host(host, lease_id=None)
    lab.dispatcher.dispatch([host])
    assert [c.case for c in lab.outbox.take(RunCase)] == [other]
    third = lab.add(host=host)
    lab.set_host(host, bad_since=datetime.datetime.now(datetime.UTC))
    lab.dispatcher.dispatch([host])
    assert lab.get(third).state == State.QUEUED
    lab.end([third])


def test_a_named_case_waits_while_its_host_is_in_a_group_of_others(lab: Scheduled) -> None:
    host = lab.host_with(slots=3)
    case, homeless = lab.add(host=host, project_id="lab"), lab.add(host=host, project_id=None)
    values = {"name": lab.group, "meta": {}, "health_case": None}
    now = datetime.datetime.now(datetime.UTC)
    lab.database.write(groups.create, values, [host], ["ci"], now)
    own = lab.add(host=host, project_id="ci")
    lab.dispatcher.dispatch([host])
    assert [c.case for c in lab.outbox.take(RunCase)] == [own]
    group = lab.database.read(groups.get, lab.group)
    assert group is not None
    lab.database.write(groups.remove, group.row.id)
    lab.dispatcher.dispatch([host])
    assert {c.case for c in lab.outbox.take(RunCase)} == {case, homeless}


@pytest.mark.parametrize("what", ["leased", "grouped"])
def test_cases_that_may_not_run_there_are_in_nobody_s_way(lab: Scheduled, what: str) -> None:
    host = lab.host_with()
    others = [lab.add(host=host, project_id="lab", queue_rank=-100) for _ in range(3)]
    if what == "leased":
        lease = lease_of("ci")
        lab.database.write(lambda c: c.execute(insert(Lease), lease))
        lab.set_host(host, lease_id=lease["id"])
    else:
        values = {"name": lab.group, "meta": {}, "health_case": None}
        now = datetime.datetime.now(datetime.UTC)
        lab.database.write(groups.create, values, [host], ["ci"], now)
    own = lab.add(host=host, project_id="ci")
    lab.dispatcher.dispatch([host])
    assert [c.case for c in lab.outbox.take(RunCase)] == [own]
    lab.set_host(host, lease_id=None)
    lab.end([own, *others])


def test_a_case_that_waits_in_a_lease_ends_with_it(lab: Scheduled) -> None:
    lab.host_with()
    lease = lease_of("lab")
    lab.database.write(lambda c: c.execute(insert(Lease), lease))
    case = lab.ask(lease=lease["uuid"], more={"project_id": "lab"})
    assert lab.wake() == []
    assert lab.get(case).state == State.QUEUED  # the lease may get a host yet
    lab.database.write(leases.end, lease["id"], datetime.datetime.now(datetime.UTC), "the test")
    lab.dispatcher.sweep()
    row = lab.get(case)
    assert (row.state, row.result, row.reason) == (State.FINISHED, "ERROR", "no_valid_host")
    assert row.detail == f"lease {lease['uuid']} has ended"
    assert [news.case for news in lab.outbox.take(CaseChanged)] == [case]


def test_a_case_that_wants_the_host_of_one_that_had_none_ends(lab: Scheduled) -> None:
    first = lab.ask()
    second = lab.ask(same_host_as=[first])
    assert lab.wake() == []
    assert lab.get(second).state == State.QUEUED  # the first may get a host yet
    lab.database.write(attempts.request_cancel, first, datetime.datetime.now(datetime.UTC))
    lab.dispatcher.sweep()
    row = lab.get(second)
    assert (row.state, row.result, row.reason) == (State.FINISHED, "ERROR", "no_valid_host")
    assert row.detail == f"case {first}, whose host it wants, has ended without one"


def test_a_host_that_comes_gets_what_waits(lab: Scheduled) -> None:
    case = lab.ask()
    assert lab.wake() == []
    host = lab.host_with()
    lab.dispatcher.arrived([host])
    (command,) = lab.outbox.take(RunCase)
    assert (command.case, command.host) == (case, host)


def test_what_was_cancelled_before_is_not_given(lab: Scheduled) -> None:
    case = lab.ask()
    now = datetime.datetime.now(datetime.UTC)
    assert lab.database.write(attempts.request_cancel, case, now) == State.QUEUED
    lab.host_with()
    assert lab.wake() == []
    row = lab.get(case)
    assert (row.state, row.result, row.host) == (State.FINISHED, Result.CANCELLED, None)


def test_a_host_without_a_queue_leaves_the_case_to_others(lab: Scheduled) -> None:
    host = lab.host_with()
    case = lab.ask()
    lab.outbox.unroutable = {agent_key(host)}
    lab.wake()
    row = lab.get(case)
    assert (row.state, row.host, row.attempts) == (State.QUEUED, None, 0)
    lab.outbox.unroutable = set()
    lab.sweep(datetime.datetime.now(datetime.UTC))
    assert [c.case for c in lab.outbox.take(RunCase)] == [case]


def test_nobody_who_waits_too_long_expires_unheard(lab: Scheduled) -> None:
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=3601)
    case = lab.ask(more={"created_at": long_ago})
    lab.sweep(datetime.datetime.now(datetime.UTC))
    row = lab.get(case)
    assert (row.result, row.reason) == (Result.ERROR, Reason.EXPIRED)
    assert row.detail == "no host could take the case in time"


# On no host.


def test_a_case_that_will_not_wait_says_what_turned_the_hosts_away(lab: Scheduled) -> None:
    lab.host_with(rack="r1")
    lab.host_with(rack="r2")
    case = lab.ask("rack=r7", on_no_host=OnNoHost.FAIL)
    assert lab.wake() == []
    row = lab.get(case)
    assert (row.state, row.result) == (State.FINISHED, Result.ERROR)
    assert row.reason == Reason.NO_VALID_HOST
    assert "rack=r7 2" in row.detail
    (news,) = lab.outbox.take(CaseChanged)
    assert (news.case, news.state, news.result) == (case, State.FINISHED, Result.ERROR)


def test_no_case_fails_on_what_was_known_before_it_came(lab: Scheduled) -> None:
    assert lab.wake() == []
    lab.ask("rack=r7")
    assert lab.wake() == [], "now the hosts are known"
    host = lab.host_with(rack="r8")
    lab.ask("rack=r8", on_no_host=OnNoHost.FAIL)
    (command,) = lab.wake()
    assert command.host == host


# Lab faults.


@pytest.mark.parametrize(
    ("told", "again"),
    [
        ({"reason": "cannot_start"}, True),
        ({"reason": "rejected"}, True),
        ({"reason": "no_space", "ran": None}, True),
        ({"reason": "no_space"}, False),
        ({"reason": "exception"}, False),
        ({"reason": "agent_restarted"}, False),
        ({"reason": "timeout", "result": "TIMEOUT"}, False),
        ({"result": "FAIL"}, False),
    ],
)
def test_a_case_goes_to_another_host_if_one_could_not_run_it(
    lab: Scheduled, told: dict[str, Any], again: bool
) -> None:
    lab.host_with()
    lab.host_with()
    case = lab.ask()
    (command,) = lab.wake()
    more = lab.report(command, **{"result": "ERROR", "detail": "why", **told})
    row = lab.get(case)
    assert (row.state == State.RUNNING) == again == bool(more)
    if again:
        assert more[0].host != command.host
        assert row.tried_hosts == [command.host]
        assert (row.attempts, row.reason, row.detail) == (2, None, None)


def test_a_lost_case_runs_on_another_host_if_it_may(lab: Scheduled) -> None:
    lab.host_with()
    lab.host_with()
    case = lab.ask(more={"rerun_on_loss": True})
    (command,) = lab.wake()
    (another,) = lab.report(command, result="ERROR", reason="agent_stopped")
    assert (another.case, another.host != command.host) == (case, True)
    now = datetime.datetime.now(datetime.UTC)
    given = {another.case: another.attempt}
    lost = lab.database.write(attempts.lose, given, now, "gone", max_attempts=3)
    assert lost.again == [case]
    row = lab.get(case)
    assert (row.state, row.host) == (State.QUEUED, None)
    assert row.tried_hosts == [command.host, another.host]
    assert row.detail == "gone; it runs again"


def test_a_case_ends_as_it_failed_if_no_other_host_can_take_it(lab: Scheduled) -> None:
    host = lab.host_with()
    case = lab.ask()
    (command,) = lab.wake()
    lab.report(command, result="ERROR", reason="cannot_start", detail="there is no ls")
    row = lab.get(case)
    assert (row.state, row.result, row.reason) == (State.FINISHED, "ERROR", "cannot_start")
    assert row.detail == (f"cannot_start on {host}: there is no ls; no other host can take it")


def test_a_case_waits_for_another_host_that_is_full(lab: Scheduled) -> None:
    lab.host_with()
    lab.host_with()
    case, _ = lab.ask(), lab.ask()
    (mine, other) = sorted(lab.wake(), key=lambda command: command.case != case)
    assert lab.report(mine, result="ERROR", reason="cannot_start") == []
    assert lab.get(case).state == State.QUEUED
    (again,) = lab.report(other)
    assert (again.case, again.host) == (case, other.host)


def test_a_case_is_tried_no_oftener_than_it_may_be(lab: Scheduled) -> None:
    for _ in range(4):
        lab.host_with()
    case = lab.ask()
    (command,) = lab.wake()
    for _ in range(2):
        (command,) = lab.report(command, result="ERROR", reason="cannot_start")
    assert lab.report(command, result="ERROR", reason="cannot_start") == []
    row = lab.get(case)
    assert (row.result, row.reason, row.attempts) == (Result.ERROR, "cannot_start", 3)


# Order.


def test_named_and_unplaced_cases_take_turns_by_one_order(lab: Scheduled) -> None:
    host = lab.host_with()
    placed, named = lab.ask(), lab.add(host=host)
    urgent = lab.ask(more={"queue_rank": -5})
    (command,) = lab.wake()
    ran = [command.case]
    while more := lab.report(command):
        (command,) = more
        ran.append(command.case)
    assert ran == [urgent, placed, named]


def test_who_has_waited_too_long_may_use_the_queue_ahead(lab: Scheduled) -> None:
    host = lab.host_with()
    lab.dispatcher._placing._room.ahead = 1
    lab.dispatcher._placing._claimer._room.ahead = 1
    lab.ask()
    assert len(lab.wake()) == 1
    late = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=301)
    overdue, _ = lab.ask(more={"created_at": late, "queue_rank": 9}), lab.ask()
    (command,) = lab.wake()
    assert (command.case, command.host, command.patience) == (overdue, host, 0.0)
    assert lab.wake() == []


# Several at the same time.


class Counting:
    """Takes commands as a broker would, and notes how many cases hosts have at most."""

    signer = None

    def __init__(self, database: Database, slots: int) -> None:
        self._database = database
        self._slots = slots
        self.most: Counter[str] = Counter()
        self.ran: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.commands: list[RunCase] = []

    def publish(self, envelopes: Any) -> list[Any]:
        commands = [e.message for e in envelopes if isinstance(e.message, RunCase)]
        with self._lock:
            self.commands += commands
            self.ran.update(command.case for command in commands)
        if commands:
            load = self._database.read(queue.load, {command.host for command in commands})
            with self._lock:
                self.most |= Counter(load)
        return []

    def take(self) -> list[RunCase]:
        with self._lock:
            taken, self.commands = self.commands, []
        return taken


def test_two_conductors_never_give_a_slot_out_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_manager, "SHARE", 1e9)
    labs = [Scheduled(database), Scheduled(database)]
    labs[1].group = labs[0].group
    slots, cases = 2, 60
    names = [labs[0].host_with(slots=slots) for _ in range(4)]
    broker = Counting(database, slots)
    for lab in labs:
        lab.dispatcher._publisher = lab.reports._publisher = broker  # type: ignore[assignment]
    waiting = {labs[0].ask() for _ in range(cases)}
    waiting |= {labs[0].add(host=names[n % 4]) for n in range(cases // 3)}
    failed: list[BaseException] = []
    deadline = time.monotonic() + 240

    def conduct(lab: Scheduled, *, sweeps: bool) -> None:
        try:
            while broker.ran.total() < len(waiting) and time.monotonic() < deadline:
                if sweeps:
                    lab.dispatcher.sweep()
                else:
                    lab.dispatcher.handle([Wake(unplaced=True, hosts=names)])
                for command in broker.take():
                    told: dict[str, Any] = {"result": "PASS", "ran": 0.0}
                    ids = {"case": command.case, "attempt": command.attempt}
                    lab.reports.handle([CaseResult(host=command.host, **ids, **told)])
        except BaseException as error:  # noqa: BLE001 - told to the test, which fails
            failed.append(error)

    threads = [
        threading.Thread(target=conduct, args=(lab,), kwargs={"sweeps": sweeps})
        for lab in labs
        for sweeps in (False, False, True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert broker.ran == Counter(dict.fromkeys(waiting, 1)), "each is given out once"
    assert max(broker.most[name] for name in names) <= slots


def test_a_claim_is_refused_for_a_slot_that_another_conductor_took(lab: Scheduled) -> None:
    host = lab.host_with()
    lab.ask("rack=none")
    assert lab.wake() == [], "the hosts are known"
    lab.add(host=host)
    claim(lab.database, host, 1, datetime.datetime.now(datetime.UTC))
    case = lab.ask()
    assert lab.wake() == []
    assert lab.get(case).state == State.QUEUED
