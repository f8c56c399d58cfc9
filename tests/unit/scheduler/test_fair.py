"""The order of those who wait, and that nobody waits for ever."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labapi import config
from labapi.exceptions import ConfigError
from labapi.scheduler import fair

NOW = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)
PATIENCE = 300
RULES = fair.Rules(datetime.timedelta(seconds=PATIENCE), {"lab": 3.0})


@dataclass(frozen=True)
class Case:
    id: int
    queue_rank: int = 0
    project_id: str | None = "ci"
    waited: float = 0.0

    @property
    def created_at(self) -> datetime.datetime:
        return NOW - datetime.timedelta(seconds=self.waited)


cases = st.lists(
    st.builds(
        Case,
        id=st.integers(1, 1000),
        queue_rank=st.integers(-2, 2),
        project_id=st.sampled_from(["lab", "ci", None]),
        waited=st.floats(0, 2 * PATIENCE),
    ),
    unique_by=lambda case: case.id,
    max_size=40,
)


def ids(found: list[Case]) -> list[int]:
    return [case.id for case in found]


def test_priority_comes_before_age() -> None:
    waiting = [Case(1, queue_rank=1), Case(2), Case(3, queue_rank=-1), Case(4)]
    assert ids(fair.order(waiting, {}, NOW, RULES)) == [3, 2, 4, 1]


def test_projects_take_turns_as_their_shares_say() -> None:
    waiting = [Case(n, project_id="ci") for n in range(8)]
    waiting += [Case(n, project_id="lab") for n in range(8, 16)]
    first = fair.order(waiting, {}, NOW, RULES)[:8]
    assert Counter(case.project_id for case in first) == {"lab": 6, "ci": 2}


def test_who_has_much_already_comes_later() -> None:
    waiting = [Case(1, project_id="ci"), Case(2, project_id="other"), Case(3, project_id="ci")]
    assert ids(fair.order(waiting, {"ci": 1}, NOW, RULES)) == [2, 1, 3]
    assert ids(fair.order(waiting, {"other": 2}, NOW, RULES)) == [1, 3, 2]


def test_who_has_waited_too_long_comes_first_whatever_else_is_said() -> None:
    late = Case(2, queue_rank=9, project_id="ci", waited=PATIENCE)
    later = Case(3, queue_rank=9, project_id="ci", waited=PATIENCE + 1)
    waiting = [Case(1, queue_rank=-9, project_id="lab", waited=PATIENCE - 1), late, later]
    assert ids(fair.order(waiting, {"ci": 100}, NOW, RULES)) == [3, 2, 1]


@given(cases, st.dictionaries(st.sampled_from(["lab", "ci", None]), st.integers(0, 50)))
def test_the_order_holds_its_rules(waiting: list[Case], usage: dict[str | None, int]) -> None:
    found = fair.order(waiting, usage, NOW, RULES)
    assert sorted(ids(found)) == sorted(ids(waiting))
    overdue = [case for case in found if RULES.is_overdue(case, NOW)]
    assert found[: len(overdue)] == overdue
    assert [case.created_at for case in overdue] == sorted(case.created_at for case in overdue)
    ranks = [case.queue_rank for case in found[len(overdue) :]]
    assert ranks == sorted(ranks)
    for project in ("lab", "ci", None):
        own = [(c.queue_rank, c.id) for c in found[len(overdue) :] if c.project_id == project]
        assert own == sorted(own)


@given(
    ahead=st.integers(0, 20),
    urgent=st.lists(st.integers(0, 5), min_size=1, max_size=30),
    rank=st.integers(-5, 5),
)
def test_nobody_starves(ahead: int, urgent: list[int], rank: int) -> None:
    """One place becomes free each second; each second cases come that are more urgent.

    A case is served when its patience is over and those are served that are older than it.
    """
    patience = 10
    rules = fair.Rules(datetime.timedelta(seconds=patience), {"lab": 1000.0})
    waiting = [Case(n) for n in range(ahead)]
    mine = Case(ahead, queue_rank=rank)
    waiting.append(mine)
    number = ahead + 1
    for second in range(patience + ahead + 1):
        moment = NOW + datetime.timedelta(seconds=second)
        chosen, *waiting = fair.order(waiting, {"ci": 1000}, moment, rules)
        if chosen is mine:
            return
        for _ in range(urgent[second % len(urgent)]):
            # Made a second later than the last ones: their age is negative at NOW.
            waiting.append(Case(number, rank - 1, "lab", waited=-second - 1))
            number += 1
    pytest.fail("it was passed over for ever")


@pytest.mark.parametrize("share", ["0", "-1", "many", "inf", "nan", ""])
def test_a_share_is_a_number_above_zero(share: str) -> None:
    conf = config.new(scheduler__shares={"lab": share})
    conf([], project="labapi", default_config_files=[])
    with pytest.raises(ConfigError, match="shares: lab:"):
        fair.rules(conf)


def test_the_rules_are_options() -> None:
    conf = config.new(scheduler__shares={"lab": "3", "ci": "0.5"}, scheduler__patience=7.0)
    conf([], project="labapi", default_config_files=[])
    expected = fair.Rules(datetime.timedelta(seconds=7), {"lab": 3.0, "ci": 0.5})
    assert fair.rules(conf) == expected
