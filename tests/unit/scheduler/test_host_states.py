"""What is kept of hosts, and for how long."""

from __future__ import annotations

import pytest

from labapi.scheduler import host_states
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.kept import Changes, Unread
from tests.unit.scheduler.hosts import host, names


def lab(number: int = 10) -> HostStates:
    return HostStates(host(f"h-{one}") for one in range(1, number + 1))


def even(one: HostState) -> bool:
    return one.id % 2 == 0


def idle(one: HostState) -> bool:
    return one.active == 0


def test_hosts_are_found_by_id_and_name() -> None:
    hosts = lab(2)
    assert (len(hosts), names(list(hosts))) == (2, ["h-1", "h-2"])
    assert hosts.get(1) is hosts[1] is hosts.named("h-1")
    hosts.remove(1)
    hosts.remove(1)
    assert hosts.get(1) is None
    assert hosts.named("h-1") is None


def test_a_name_may_go_over_to_another_host() -> None:
    hosts = lab(2)
    successor = host("h-1", id=3)
    hosts.add(successor)
    hosts.remove(1)
    assert hosts.named("h-1") is successor
    hosts.add(host("h-9", id=3))
    assert hosts.named("h-1") is None
    assert names(list(hosts)) == ["h-2", "h-9"]


def test_a_set_is_read_when_it_is_asked_for_again() -> None:
    hosts = lab()
    first = hosts.where("even", even)
    assert isinstance(first, Unread)
    assert (2 in first, 3 in first) == (True, False)
    assert hosts.where("even", even) == {2, 4, 6, 8, 10}
    hosts.remove(2)
    hosts.add(host("h-12"))
    assert hosts.where("even", even) == {4, 6, 8, 10, 12}


def test_a_set_follows_room_if_it_says_so() -> None:
    hosts = lab(3)
    for key, follows in (("follows", True), ("does not", False)):
        hosts.where(key, idle, follows_room=follows)
        hosts.where(key, idle, follows_room=follows)
    hosts.consume(hosts[1])
    assert hosts.where("follows", idle, follows_room=True) == {2, 3}
    assert hosts.where("does not", idle) == {1, 2, 3}
    hosts.release(hosts[1])
    assert hosts.where("follows", idle, follows_room=True) == {1, 2, 3}
    hosts.count(hosts[3], 2)
    assert hosts.where("follows", idle, follows_room=True) == {1, 2}
    hosts.count(hosts[3], -5)
    assert (hosts[3].active, hosts.where("follows", idle, follows_room=True)) == (0, {1, 2, 3})


def test_the_order_follows_weights() -> None:
    hosts = lab(3)

    def weight(one: HostState) -> float:
        return one.free

    hosts.consume(hosts[2])
    hosts.by_weight(weight)
    for _ in range(2):
        hosts.consume(hosts[1])
    assert [number for _, number in hosts.by_weight(weight)] == [3, 2, 1]
    assert hosts.by_weight(weight).of(1) == 2
    assert [number for _, number in hosts.by_weight(lambda one: one.id)] == [3, 2, 1]


def test_sets_are_few_and_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_states, "KEPT", 3)
    hosts = lab()

    def read(key: str) -> bool:
        return not isinstance(hosts.where(key, even), Unread)

    assert [read(key) for key in "abcabcd"] == [False, False, False, True, True, True, False]
    assert read("b")
    assert not read("a")  # forgotten for d
    monkeypatch.setattr(host_states, "KEPT", 100)
    monkeypatch.setattr(host_states, "KEPT_IDS", 12)
    assert [read(key) for key in "xyxyzz"] == [False, False, True, True, False, True]
    assert read("y")
    assert not read("x")  # three sets have 15 ids


def test_a_predicate_that_fails_once_leaves_nothing_half_done() -> None:
    hosts, broken = lab(4), [False]

    def holds(one: HostState) -> bool:
        if broken[0] and one.id == 3:
            raise ZeroDivisionError
        return one.active == 0

    for _ in range(2):
        hosts.where("holds", holds)
    for one in hosts:
        one.active = 1
        hosts.update(one)
    broken[0] = True
    with pytest.raises(ZeroDivisionError):
        hosts.where("holds", holds)
    broken[0] = False
    assert hosts.where("holds", holds) == set()


def test_changes_that_are_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Changes, "LONGEST", 4)
    hosts = lab()
    for _ in range(2):
        hosts.where("idle", idle)
    for number in (1, 2, 3, 4, 5, 6, 7, 1):
        hosts[number].active = 1
        hosts.update(hosts[number])
    assert hosts.where("idle", idle) == {8, 9, 10}
    assert len(hosts._changes._ids) <= 5
