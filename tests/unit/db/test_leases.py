from __future__ import annotations

import datetime
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import literal, select

from labapi.case import State
from labapi.db import attempts, leases, purge
from labapi.db.leases import LeaseState
from labapi.db.models import Host
from labapi.db.session import Database, Record
from labapi.exceptions import Conflict, Forbidden
from tests.hosts import announce, make_lease
from tests.unit.db.test_testcases import add

NOW = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)


def after(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


class Bench:
    """Hosts of a test's own, and leases of them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.mark = uuid.uuid4().hex[:8]

    def host(self, name: str) -> str:
        return announce(self.database, f"{name}-{self.mark}", NOW, slots=2)

    def project(self, name: str) -> str:
        return f"{name}-{self.mark}"

    def lease(
        self, hosts: list[str] | None, project: str = "p", most: int = 100, **values: Any
    ) -> Record:
        owner = {"project_id": self.project(project)}
        return self.get(make_lease(self.database, hosts, NOW, most=most, **owner, **values))

    def get(self, lease: str) -> Record:
        found = self.database.read(leases.get, lease)
        assert found is not None
        return found

    def run(self, host: str, project: str | None = "q") -> str:
        owner = self.project(project) if project else None
        return add(self.database, host, project_id=owner, state=State.RUNNING, attempt="a")

    def finish(self, case: str) -> None:
        self.database.write(
            attempts.finish,
            [case],
            NOW,
            states=(State.RUNNING,),
            result="PASS",
            reason=None,
            detail="",
        )

    def is_closed(self, host: str, project: str) -> bool:
        closed = select(leases.away_from(literal(self.project(project)))).where(Host.host == host)
        return bool(self.database.read(lambda c: c.execute(closed).scalar_one()))


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


def test_a_lease_of_idle_hosts_begins_at_once(bench: Bench) -> None:
    first, second, other = bench.host("a"), bench.host("b"), bench.host("c")
    lease = bench.lease([first, second])
    assert (lease.state, lease.starts_at, lease.ends_at) == (LeaseState.ACTIVE, NOW, after(60))
    assert bench.database.read(leases.held, lease.id) == [first, second]
    assert [bench.is_closed(first, p) for p in ("p", "q")] == [False, True]
    assert not bench.is_closed(other, "q")


def test_of_requests_with_one_key_one_makes_a_lease(bench: Bench) -> None:
    host, key = bench.host("a"), uuid.uuid4().hex
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: bench.lease([host], idempotency=key).uuid, range(8)))
    assert len(set(made)) == 1
    assert bench.database.read(leases.with_key, key).uuid == made[0]


def test_a_lease_whose_answer_was_lost_is_found_again(bench: Bench) -> None:
    host, lease = bench.host("a"), str(uuid.uuid4())
    assert [bench.lease([host], uuid=lease).uuid for _ in range(2)] == [lease, lease]


def test_it_ends_for_good_and_once(bench: Bench) -> None:
    host = bench.host("a")
    lease = bench.lease([host])
    end = bench.database.write
    assert end(leases.end, lease.id, after(60), "x", seen=lease) == [host]
    assert end(leases.end, lease.id, after(61), "y") is None
    lease = bench.get(lease.uuid)
    assert (lease.state, lease.ended_at, lease.ended_by) == (LeaseState.ENDED, after(60), "x")
    assert not bench.is_closed(host, "q")
    assert lease.hosts == [host]
    with pytest.raises(Conflict, match="has ended"):
        bench.database.write(leases.renew, lease.id, NOW, seconds=5.0, until=None)


def test_it_waits_until_the_cases_of_others_have_ended(bench: Bench) -> None:
    host, idle = bench.host("a"), bench.host("b")
    foreign, nobodys = bench.run(host), bench.run(idle, None)
    bench.run(host, "p")
    lease = bench.lease([host, idle])
    assert (lease.state, lease.starts_at, lease.ends_at) == (LeaseState.WAITING, None, None)
    # From now on nobody is given a place there, its own project neither.
    assert [bench.is_closed(host, p) for p in ("p", "q")] == [True, True]
    waits_for = bench.database.read(leases.running_of_others, [host, idle], lease.project_id)
    assert {row.host for row in waits_for} == {host, idle}
    bench.finish(foreign)
    assert not bench.database.write(leases.begin, lease.id, after(5))
    bench.finish(nobodys)
    assert bench.database.write(leases.begin, lease.id, after(10))
    assert not bench.database.write(leases.begin, lease.id, after(11))
    lease = bench.get(lease.uuid)
    assert (lease.starts_at, lease.ends_at) == (after(10), after(70))


def test_one_that_waits_may_be_ended_and_names_its_place(bench: Bench) -> None:
    host, other = bench.host("a"), bench.host("b")
    bench.run(host)
    bench.run(other)
    first, second = bench.lease([host]), bench.lease([other])
    place = bench.database.read(leases.place, first.id)
    assert bench.database.read(leases.place, second.id) == place + 1
    assert bench.database.write(leases.end, first.id, NOW, "u") == [host]
    assert bench.database.read(leases.place, second.id) == place
    assert not bench.database.write(leases.begin, first.id, NOW)


def test_until_counts_while_it_waits(bench: Bench) -> None:
    host = bench.host("a")
    bench.run(host)
    lease = bench.lease([host], seconds=None, ends_at=after(30))
    (seen,) = [one for one in bench.database.read(leases.open_leases) if one.id == lease.id]
    assert (seen.state, seen.ends_at) == (LeaseState.WAITING, after(30))


def test_it_is_renewed_from_now_on(bench: Bench) -> None:
    host = bench.host("a")
    lease = bench.lease([host])
    bench.database.write(leases.renew, lease.id, after(50), seconds=60.0, until=None)
    assert bench.get(lease.uuid).ends_at == after(110)
    assert bench.database.write(leases.end, lease.id, after(60), "x", seen=lease) is None
    bench.database.write(leases.renew, lease.id, after(50), seconds=None, until=after(55))
    seen = bench.get(lease.uuid)
    assert seen.ends_at == after(55)
    assert bench.database.write(leases.end, lease.id, after(60), "x", seen=seen) == [host]


def test_hosts_that_are_leased_benched_or_gone_are_refused_with_all_others(bench: Bench) -> None:
    held, free, bad = bench.host("a"), bench.host("b"), bench.host("c")
    lease = bench.lease([held])
    with pytest.raises(Conflict, match="is leased until 2026-11-21T08:01:00Z"):
        bench.lease([free, held], project="q")
    with pytest.raises(Conflict, match=f"to your own project, by lease {lease.uuid}"):
        bench.lease([held])
    with pytest.raises(Conflict, match="taken off the list"):
        bench.lease([free, "nowhere"])
    bench.database.write(
        lambda c: c.exec_driver_sql(
            f"UPDATE hosts SET bad_since='2026-01-01', bad_reason='loud' WHERE host='{bad}'"
        )
    )
    with pytest.raises(Conflict, match="is benched: loud"):
        bench.lease([free, bad])
    assert bench.lease([free], project="q").state == LeaseState.ACTIVE


def test_a_project_leases_no_more_hosts_than_it_may(bench: Bench) -> None:
    names = [bench.host(name) for name in "abc"]
    first = bench.lease(names[:2], most=2)
    with pytest.raises(Forbidden, match="may lease 2 hosts at the same time, and would have 3"):
        bench.lease(names[2:], most=2)
    bench.lease(names[2:], "q", most=2)
    bench.database.write(leases.end, first.id, NOW, "u")
    assert bench.lease(names[:2], most=2).state == LeaseState.ACTIVE


def test_one_without_hosts_takes_them_later(bench: Bench) -> None:
    free, held = bench.host("a"), bench.host("b")
    bench.lease([held])
    lease = bench.lease(None, "q", count=2)
    assert (lease.state, lease.hosts) == (LeaseState.WAITING, None)
    assert not bench.database.write(leases.begin, lease.id, NOW)
    with pytest.raises(Conflict, match="is leased"):
        bench.database.write(leases.assign, lease.id, [free, held], NOW)
    assert bench.get(lease.uuid).hosts is None
    assert bench.database.write(leases.assign, lease.id, [free], after(5))
    assert not bench.database.write(leases.assign, lease.id, [free], after(6))
    lease = bench.get(lease.uuid)
    assert (lease.state, lease.hosts, lease.ends_at) == (LeaseState.ACTIVE, [free], after(65))


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Return what these return, or raise, when they are called at the same moment."""
    start = threading.Barrier(len(works))
    found: list[Any] = [None] * len(works)

    def call(index: int) -> None:
        start.wait()
        try:
            found[index] = works[index]()
        except (Conflict, Forbidden) as error:
            found[index] = error

    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_of_two_that_want_the_same_hosts_at_once_one_gets_them_all(bench: Bench) -> None:
    for _ in range(5):
        names = [bench.host(f"{name}{uuid.uuid4().hex[:4]}") for name in "abc"]
        found = at_once(
            lambda names=names: bench.lease(names[:2], "p"),
            lambda names=names: bench.lease(names[1:], "q"),
            lambda names=names: bench.lease([names[1]], "r"),
        )
        (lease,) = [one for one in found if not isinstance(one, Exception)]
        assert [type(one) for one in found].count(Conflict) == 2
        assert bench.database.read(leases.held, lease.id) == sorted(lease.hosts)
        for name in set(names) - set(lease.hosts):
            assert not bench.is_closed(name, "s")
        bench.database.write(leases.end, lease.id, NOW, "u")


def test_two_requests_at_once_do_not_exceed_what_a_project_may_lease(bench: Bench) -> None:
    names = [bench.host(name) for name in "abcd"]
    found = at_once(*(lambda n=name: bench.lease([n], most=2) for name in names))
    assert [type(one) for one in found].count(Forbidden) == 2


def test_many_requests_of_a_project_at_once_all_get_their_leases(bench: Bench) -> None:
    for _ in range(5):
        found = at_once(*[lambda: bench.lease(None, most=1000)] * 16)
        assert [one.state for one in found] == [LeaseState.WAITING] * 16


def test_it_begins_and_ends_once_with_two_conductors(bench: Bench) -> None:
    host = bench.host("a")
    case = bench.run(host)
    lease = bench.lease([host])
    bench.finish(case)
    write = bench.database.write
    begun = at_once(*[lambda: write(leases.begin, lease.id, NOW)] * 3)
    assert sorted(begun) == [False, False, True]
    seen = bench.get(lease.uuid)
    ended = at_once(*[lambda: write(leases.end, lease.id, after(60), "x", seen=seen)] * 3)
    assert sorted(ended, key=str) == [None, None, [host]]


def test_a_leased_host_stays_on_the_list_however_silent(bench: Bench) -> None:
    host = bench.host("a")
    lease = bench.lease([host])
    assert host not in bench.database.read(purge.silent_hosts, after(100))
    bench.database.write(leases.end, lease.id, NOW, "u")
    assert host in bench.database.read(purge.silent_hosts, after(100))


def test_pages_are_newest_first(bench: Bench) -> None:
    made = [bench.lease([bench.host(name)]) for name in "abc"]
    own = {"project_id": made[0].project_id}

    def page(before: int | None, **filters: Any) -> list[int]:
        rows = bench.database.read(leases.page, {**own, **filters}, before=before, limit=2)
        return [row.id for row in rows]

    assert page(None) == [made[2].id, made[1].id]
    assert page(made[1].id) == [made[0].id]
    bench.database.write(leases.end, made[1].id, NOW, "u")
    assert page(None, state=LeaseState.ACTIVE) == [made[2].id, made[0].id]
