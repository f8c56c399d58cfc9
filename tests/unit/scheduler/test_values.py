"""Sentences that are looked up, against asking each host."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labapi.scheduler import host_states
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.requirements import LIMITS, Requirement, parse
from tests.unit.scheduler.hosts import host, request, scheduler

KEYS = ["a", "b", "nobody"]
TEXTS = ["", "0", "1", "1.0", " 1 ", "-2.5", "1e0", "1e999", "nan", "true", "True", "no", "r7", "½"]
NUMBERS = [0, 1, 1.0, -2.5, 2**53, 2**53 + 1, 10**300, -0.0, float("inf"), float("nan")]
ITEMS = st.sampled_from([*TEXTS, *NUMBERS, True, False, None])
FACTS = st.one_of(
    ITEMS, st.lists(st.one_of(ITEMS, st.just([1]), st.just({})), max_size=3), st.just({"a": 1})
)
WORDS = st.fixed_dictionaries(
    {
        "metadata": st.dictionaries(st.sampled_from(KEYS[:2]), st.sampled_from(TEXTS)),
        "facts": st.dictionaries(st.sampled_from(KEYS[:2]), FACTS),
    }
)
WANTED = st.sampled_from([*TEXTS, "0.0", "1.00", "9007199254740993", "TRUE", "r8", "1" * 100])
LIMIT = st.sampled_from(["0", "1", "1.0", "-2.5", "9007199254740992", "1e300", "-0"])


@st.composite
def sentences(draw: st.DrawFn) -> Requirement:
    key = draw(st.sampled_from(KEYS))
    operator = draw(st.sampled_from(["", "!", "=", "!=", "in", "not in", ">=", "<=", ">", "<"]))
    if operator in ("", "!"):
        return parse(operator + key)
    if operator in LIMITS:
        return parse(f"{key} {operator} {draw(LIMIT)}")
    if operator in ("=", "!="):
        return parse(f'{key} {operator} "{draw(WANTED)}"')
    values = ", ".join(f'"{value}"' for value in draw(st.lists(WANTED, min_size=1, max_size=3)))
    return parse(f"{key} {operator} ({values})")


def check(hosts: HostStates, sentence: Requirement) -> None:
    found = hosts.meeting(sentence)
    right = {one.id for one in hosts if sentence.met_by(one)}
    assert set(found) == right
    assert len(found) == len(list(found)) == len(right)
    assert {number for number in range(13) if number in found} == right


CHANGES = st.lists(st.tuples(st.integers(1, 12), st.none() | WORDS), max_size=6)


@given(
    st.lists(WORDS, max_size=9),
    st.lists(st.tuples(CHANGES, st.lists(sentences(), min_size=1, max_size=3)), max_size=4),
)
def test_a_look_up_finds_the_hosts_that_fulfil_a_sentence(
    words: list[dict[str, Any]], rounds: list[tuple[list[Any], list[Requirement]]]
) -> None:
    hosts = HostStates(host(f"h-{one}", **said) for one, said in enumerate(words, 1))
    for changes, asked in rounds:
        for number, said in changes:
            if said is None:
                hosts.remove(number)
            else:
                hosts.add(host(f"h-{number}", **said))
        for sentence in asked:
            check(hosts, sentence)


@pytest.mark.parametrize(
    ("before", "after", "asked"),
    [
        ([1, 1.5], [2, 0], "a >= 1"),
        (True, "TRUE", "a=TRUE"),
        ("true", True, "a=true"),
        ([1], [True], "a=1"),
        ([True], [1], "a=True"),
        (0, False, "a=0"),
        (["x", "x"], ["y", True, True], "a=x"),
        ([True, True, 1, 1], "x", "a=True"),
    ],
)
def test_values_that_look_alike_are_told_apart(before: Any, after: Any, asked: str) -> None:
    hosts = HostStates([host("h-1", facts={"a": before}), host("h-2", facts={"a": "other"})])
    check(hosts, parse(asked))
    hosts.add(host("h-1", facts={"a": after}))
    check(hosts, parse(asked))
    check(hosts, parse(asked.replace("=", "!=", 1) if ">=" not in asked else asked))


class Counted(dict[str, Any]):
    """Counts how often somebody looks for a key, in all of them."""

    looks = 0

    def __contains__(self, key: object) -> bool:
        Counted.looks += 1
        return super().__contains__(key)


def lab(number: int) -> HostStates:
    """Return hosts that count how often they are looked at; each has its number as ``memory``."""
    found = HostStates(
        host(f"h-{one}", metadata=Counted(), facts={"memory": one}) for one in range(1, number + 1)
    )
    Counted.looks = 0
    return found


def looks(hosts: HostStates, sentence: str) -> int:
    """Return how many hosts are looked at for a sentence."""
    before = Counted.looks
    hosts.meeting(parse(sentence))
    return Counted.looks - before


def test_a_new_sentence_looks_only_at_hosts_that_have_changed() -> None:
    hosts = lab(100)
    assert [looks(hosts, f"memory > {limit}") for limit in (10, 20, 200)] == [100, 0, 0]
    for one in (3, 4, 3):
        hosts[one].facts = {"memory": 1000}
        hosts.update(hosts[one])
    hosts.consume(hosts[5])
    assert Counted.looks == 100  # nothing is put right before it is asked for
    assert [looks(hosts, f"memory > {limit}") for limit in (101, 102)] == [2, 0]
    assert hosts.meeting(parse("memory > 99")) == {3, 4, 100}


def test_a_new_sentence_that_no_host_fulfils_is_decided_without_a_look() -> None:
    hosts, driver = lab(1000), scheduler()
    for limit in range(3):
        Counted.looks = 0
        assert driver.select(request(requires=(f"memory > {1000 + limit}",)), hosts) == []
    assert Counted.looks == 0


def test_a_key_that_no_host_has_ever_had_is_not_looked_for() -> None:
    hosts = lab(100)
    assert looks(hosts, "no_such") == 0
    assert len(hosts.meeting(parse("!no_such"))) == 100
    hosts[7].facts = {"no_such": True}
    hosts.update(hosts[7])
    assert hosts.meeting(parse("no_such")) == {7}


def test_keys_that_were_asked_for_least_lately_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host_states, "KEPT_KEYS", 2)
    hosts = HostStates([host("h-1", metadata=Counted(a="1", b="2", c="3"))])
    assert [looks(hosts, key) for key in "abacab"] == [1, 1, 0, 1, 0, 1]


def test_hosts_that_change_between_two_sentences_of_a_batch_are_seen() -> None:
    hosts, driver = lab(4), scheduler()
    wanted = request(requires=("memory >= 2", "memory != 3", "!broken"))
    assert {one.id for one in driver.select(wanted, hosts, count=8)} == {2, 4}
    hosts[2].facts = {"memory": 3}
    hosts.update(hosts[2])
    hosts[1].facts = {"memory": 2}
    hosts.update(hosts[1])
    assert {one.id for one in driver.select(wanted, hosts, count=4)} == {1}
