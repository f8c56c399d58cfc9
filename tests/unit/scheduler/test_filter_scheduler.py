"""What holds for any hosts and any request."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labapi.scheduler import kept, weighing
from labapi.scheduler.filter_scheduler import FilterScheduler
from labapi.scheduler.filters import Filter
from labapi.scheduler.host_state import HeldBy, HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.spec import Access, RequestSpec
from labapi.scheduler.weighers import Weigher
from tests.unit.scheduler.hosts import PLUGINS, host, names, only, request, scheduler

UNTIL = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)
PROJECTS = st.sampled_from(["p1", "p2", None])
GROUPS = st.frozensets(st.sampled_from(["g1", "g2"]))

HOST: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "slots": st.integers(0, 3),
        "active": st.integers(0, 3),
        "up": st.sampled_from([True, True, False]),
        "disabled": st.sampled_from([False, False, True]),
        "bad": st.sampled_from([None, None, "it"]),
        "zone": st.sampled_from(["lab", "berlin"]),
        "plugins": st.sampled_from([PLUGINS, PLUGINS, "{}"]),
        "metadata": st.dictionaries(
            st.sampled_from(["rack", "allow"]), st.sampled_from(["r7", "10.0.0.0/8"])
        ),
        "facts": st.fixed_dictionaries(
            {"load1": st.floats(0, 9)}, optional={"memory_total_mib": st.just(8)}
        ),
        "groups": GROUPS,
        "open_to": st.frozensets(PROJECTS),
        "held_by": st.none()
        | st.builds(HeldBy, st.just("l1"), PROJECTS, st.sampled_from([UNTIL, None])),
        "faults": st.integers(0, 2),
    }
)
HOSTS = st.lists(HOST, max_size=12).map(
    lambda rows: [host(f"h-{number}", **row) for number, row in enumerate(rows, 1)]
)
NAMES = st.frozensets(st.integers(1, 12).map("h-{}".format), max_size=3)
SPEC: st.SearchStrategy[RequestSpec] = st.fixed_dictionaries(
    {},
    optional={
        "plugin": st.sampled_from(["power", "power", "none"]),
        "method": st.just("cycle"),
        "parameters": st.sampled_from([{"ms": 1}, {"ms": 1}, {"ms": "x"}]),
        "project_id": PROJECTS,
        "tried": NAMES,
        "same_hosts": NAMES,
        "different_hosts": NAMES,
        "ahead": st.integers(0, 1),
        "batch_hosts": st.dictionaries(st.just("h-1") | st.just("h-2"), st.integers(1, 2)),
        "requires": st.sampled_from([("rack=r7",), ("!rack", "load1 < 5")]),
        "prefer": st.sampled_from([("rack=r7",), ("load1 < 3", "memory_total_mib")]),
        "group": st.sampled_from(["g1", "g2"]),
        "zone": st.sampled_from(["lab", "berlin"]),
        "lease": st.just("l1"),
        "client": st.sampled_from(["10.0.0.1", "192.0.2.1"]),
        "access": st.builds(Access, st.just("allow"), closed_by_default=st.booleans()),
    },
).map(lambda values: request(**values))


def plain(driver: FilterScheduler, spec: RequestSpec, hosts: list[HostState]) -> set[str]:
    """Return the best hosts by looking at all of them, with no index and no order."""
    weighers = driver.weighing.for_request(spec)
    weights = {
        one.host: driver.weighing.base(one) + weighing.added(weighers, one, spec)
        for one in hosts
        if all(each.passes(one, spec) for each in driver.filters if each.applies(spec))
    }
    best = max(weights.values(), default=0.0)
    return {name for name, weight in weights.items() if math.isclose(weight, best)}


DRIVER = scheduler()


@given(HOSTS, SPEC, st.sampled_from([0, 2, 64]), st.sampled_from([0, 4]))
@settings(max_examples=150)
def test_the_index_and_the_plain_loop_choose_from_the_same_set(
    rows: list[HostState], spec: RequestSpec, tried: int, few: int
) -> None:
    hosts = HostStates(rows)
    best = plain(DRIVER, spec, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "TRIED", tried)
        patch.setattr(kept, "FEW", few)
        for _ in range(3):  # with sets that nobody has read, that are read, and that have changed
            chosen = DRIVER.select(spec, hosts)
            assert bool(chosen) is bool(best)
            assert set(names(chosen)) <= best
            for one in chosen:
                hosts.release(one)


@given(HOSTS, SPEC, st.integers(1, 6), st.sampled_from(["filter_scheduler", "chance"]))
@settings(max_examples=150)
def test_no_host_is_chosen_that_a_filter_refuses(
    rows: list[HostState], spec: RequestSpec, subset: int, name: str
) -> None:
    driver = DRIVERS[name, subset]
    hosts = HostStates(rows)
    allowed = {one.host for one in rows if driver.why_not(spec, one) is None}
    explained = driver.explain(spec, hosts)
    assert set(names(explained.hosts)) == allowed
    assert sum(explained.turned_away.values()) == len(rows) - len(allowed)
    chosen = driver.select(spec, hosts)
    assert set(names(chosen)) <= allowed
    assert bool(chosen) is bool(allowed)


DRIVERS: dict[tuple[str, int], FilterScheduler] = {
    (name, subset): scheduler(driver=name, host_subset_size=subset)
    for name in ("filter_scheduler", "chance")
    for subset in range(1, 7)
}


@given(HOSTS, SPEC, st.integers(1, 40), st.sampled_from(sorted(DRIVERS)))
@settings(max_examples=150)
def test_a_batch_never_exceeds_slots(
    rows: list[HostState], spec: RequestSpec, count: int, which: tuple[str, int]
) -> None:
    driver, hosts = DRIVERS[which], HostStates(rows)
    room = {
        one.host: max(0, one.free + spec.ahead) for one in rows if driver.why_not(spec, one) is None
    }
    chosen = Counter(names(driver.select(spec, hosts, count)))
    assert all(number <= room[name] for name, number in chosen.items())
    assert sum(chosen.values()) == min(count, sum(room.values()))


WEIGHTED = [
    (multiplier, weigher)
    for multiplier, (_, weigher) in zip(
        (0.1, 0.7, 1e-9, 3.0, 0.3, 2.0),
        DRIVER.weighing.kept + DRIVER.weighing.asked,
        strict=True,
    )
]


@given(HOSTS, SPEC, st.permutations(WEIGHTED))
def test_the_sum_of_weights_does_not_depend_on_their_order(
    rows: list[HostState], spec: RequestSpec, order: list[tuple[float, Weigher]]
) -> None:
    sums = []
    for weights in (weighing.Weighing(WEIGHTED), weighing.Weighing(order)):
        asked = weights.for_request(spec)
        sums.append([(weights.base(one), weighing.added(asked, one, spec)) for one in rows])
    assert sums[0] == sums[1]


@given(HOSTS, SPEC)
def test_a_weigher_whose_word_is_kept_reads_no_request(
    rows: list[HostState], spec: RequestSpec
) -> None:
    for _, weigher in DRIVER.weighing.kept:
        for one in rows:
            assert weigher.weigh(one, spec) == weigher.weigh(one, RequestSpec())


CHANGES = st.lists(st.tuples(st.integers(0, 11), HOST | st.none()), max_size=8)


@given(HOSTS, CHANGES, SPEC)
@settings(max_examples=150)
def test_what_is_kept_of_hosts_follows_their_changes(
    rows: list[HostState], changes: list[tuple[int, dict[str, Any] | None]], spec: RequestSpec
) -> None:
    hosts = HostStates(rows)
    DRIVER.select(spec, hosts)  # sets and order are made
    known = {one.id: one for one in rows}
    for number, values in changes:
        if values is None:
            hosts.remove(number)
            known.pop(number, None)
        elif number in known:
            for name, value in values.items():
                setattr(known[number], name, value)
            hosts.update(known[number])
        else:
            known[number] = host(f"h-{number}", **values)
            hosts.add(known[number])
    best = plain(DRIVER, spec, list(known.values()))
    chosen = DRIVER.select(spec, hosts)
    assert bool(chosen) is bool(best)
    assert set(names(chosen)) <= best


def many(number: int, **values: Any) -> HostStates:
    return HostStates(host(f"h-{one}", **values) for one in range(1, number + 1))


def test_of_many_hosts_the_few_that_will_do_are_found() -> None:
    """They are the last ones by weight, behind those that are tried one by one."""
    hosts = many(1000)
    for number in (7, 8):
        hosts[number].metadata = {"gpu": "a100"}
        hosts[number].active = 3
        hosts.update(hosts[number])
    wanted = request(requires=("gpu=a100",))
    assert set(names(DRIVER.select(wanted, hosts, count=5))) == {"h-7", "h-8"}
    assert DRIVER.select(wanted, hosts) == []


def test_what_was_asked_before_is_not_looked_at_again() -> None:
    class Counted(dict):  # type: ignore[type-arg]
        def __contains__(self, key: object) -> bool:
            looks.append(key)
            return super().__contains__(key)

    looks: list[object] = []
    hosts = many(1000)
    for one in hosts:
        one.metadata = Counted(rack="r7" if one.id == 500 else "r8")
        hosts.update(one)
    wanted = request(requires=("rack=r7",))
    counts = []
    for _ in range(4):
        looks.clear()
        assert names(DRIVER.select(wanted, hosts)) == ["h-500"]
        counts.append(len(looks))
    assert max(counts) <= 1100  # one look at each at most
    assert counts[-1] == 1  # at the one that is chosen


def test_a_batch_is_spread() -> None:
    assert len(set(names(DRIVER.select(request(), many(20), count=20)))) == 20


def test_affinity_packs_a_batch() -> None:
    driver = scheduler(weighers={"affinity": "5", "free_slots": "1"})
    assert sorted(Counter(names(driver.select(request(), many(20), count=8))).values()) == [4, 4]


def test_one_of_the_best_is_drawn() -> None:
    rows = {f"h-{number}": {"active": number} for number in range(1, 5)}
    driver = only(weighers={"free_slots": "1"}, host_subset_size=3)
    drawn = set()
    for _ in range(200):
        hosts = HostStates(host(name, slots=9, **values) for name, values in rows.items())
        drawn.update(names(driver.select(request(), hosts)))
    assert drawn == {"h-1", "h-2", "h-3"}


class TheQuietestTwo(Filter):
    """Sees all hosts."""

    name = "quietest"

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        return True

    def filter_all(self, hosts: Any, spec: RequestSpec) -> Any:
        return sorted(hosts, key=lambda one: one.active)[:2]


class TheFirstHostsOnce(Filter):
    """Looks at what was given to hosts, which it sees before the first case only."""

    name = "once"
    run_filter_once_per_request = True

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        return host.active == 0


class TheFirstHosts(TheFirstHostsOnce):
    run_filter_once_per_request = False


class TheQuietestTwoOnce(TheQuietestTwo):
    run_filter_once_per_request = True


def with_filter(kind: type[Filter]) -> FilterScheduler:
    driver = only(["free_slots"], {"free_slots": "1"})
    driver.filters.append(kind(driver.conf))
    return driver


def test_a_filter_may_see_all_hosts() -> None:
    rows = {"h-1": 2, "h-2": 0, "h-3": 1, "h-4": 4}
    hosts = HostStates(host(name, active=active) for name, active in rows.items())
    explained = with_filter(TheQuietestTwo).explain(request(), hosts)
    assert names(explained.hosts) == ["h-2", "h-3"]
    assert explained.turned_away == {"free_slots": 1, "quietest": 1}
    assert names(with_filter(TheQuietestTwo).select(request(), hosts)) == ["h-2"]


@pytest.mark.parametrize(
    ("kind", "used", "chosen"),
    [
        (TheFirstHosts, 2, 2),  # a host is refused as soon as it has a case
        (TheFirstHostsOnce, 2, 8),
        (TheQuietestTwo, 6, 24),
        (TheQuietestTwoOnce, 2, 8),
    ],
)
def test_a_filter_may_be_asked_once_for_all_cases(
    kind: type[Filter], used: int, chosen: int
) -> None:
    found = with_filter(kind).select(
        request(), many(2 if used == 2 and chosen < 9 else 6), count=30
    )
    assert len(set(names(found))) == used
    assert len(found) == chosen


def test_why_is_it_waiting() -> None:
    hosts = HostStates(
        [
            host("h-1", up=False, metadata={"rack": "r7"}),
            host("h-2", metadata={"rack": "r7"}, facts={"memory_total_mib": 512}),
            host("h-3", metadata={"rack": "r8"}, active=4),
            host("h-4", up=False, metadata={"rack": "r8"}),
        ]
    )
    asked = request(requires=("rack=r7", "memory_total_mib >= 4096"))
    explained = DRIVER.explain(asked, hosts)
    assert explained.hosts == []
    assert explained.turned_away == {
        "up": 2,
        "requires memory_total_mib >= 4096": 1,
        "requires rack=r7": 1,
    }
    assert explained.nearest is hosts.named("h-2")
    assert explained.lacks == [
        "requires memory_total_mib >= 4096: its memory_total_mib is 512",
    ]


def test_of_a_host_that_the_caller_may_not_know_nothing_is_said() -> None:
    closed = {"allow": "192.0.2.1", "rack": "secret"}
    hosts = HostStates([host("h-1", metadata=closed), host("h-2", up=False)])
    asked = request(requires=("rack=r7",), client="10.0.0.1", access=Access(prefix="allow"))
    explained = DRIVER.explain(asked, hosts)
    assert explained.turned_away == {"access": 1, "up": 1}
    assert explained.nearest is hosts.named("h-2")
    assert DRIVER.why_not(asked, hosts[1]) == "access"


class Cool(Filter):
    """Turns hot hosts away, and raises where it is told nonsense."""

    name = "cool"

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        return bool(host.facts["celsius"] < 60)


class Cooler(Weigher):
    """Raises likewise."""

    def weigh(self, host: HostState, spec: RequestSpec) -> float:
        return 1 - float(host.facts["celsius"]) / 100


def test_a_host_that_makes_filters_raise_keeps_nobody_from_the_others() -> None:
    cool = only()
    cool.filters = [Cool(cool.conf)]
    cool.weighing = weighing.Weighing([(1.0, Cooler(cool.conf))])
    told = {
        1: {"celsius": "hot"},
        2: {"celsius": 30},
        3: {"celsius": 20},
        4: {},
        5: {"celsius": 70},
    }
    hosts = HostStates(host(f"h-{number}", facts=facts) for number, facts in told.items())
    assert names(cool.select(request(), hosts)) == ["h-3"]
    explained = cool.explain(request(), hosts)
    assert names(explained.hosts) == ["h-3", "h-2"]
    assert explained.turned_away == {"cool": 3}
    assert cool.why_not(request(), hosts[1]) == "cool: it could not be asked; the log says why"
    assert cool.why_not(request(), hosts[5]) == "cool"
    assert cool.why_not(request(), hosts[2]) is None


class Silly(Weigher):
    """Says more than may be said, or nothing that can be counted."""

    def weigh(self, host: HostState, spec: RequestSpec) -> float:
        return {1: math.inf, 2: math.nan, 3: -math.inf}[host.id]


def test_what_a_weigher_says_is_cut_off() -> None:
    conf = scheduler().conf
    weights = weighing.Weighing([(2.0, Silly(conf))])
    assert [weights.base(host(f"h-{number}")) for number in (1, 2, 3)] == [2.0, 0.0, 0.0]
