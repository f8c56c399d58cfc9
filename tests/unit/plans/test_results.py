"""What the results of many come to, and what a result means for what comes next."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labapi.case import Result
from labapi.plans.entry import Retry, Rules
from labapi.plans.results import worst

ORDER = ["PASS", "ERROR", "CANCELLED", "TIMEOUT", "FAIL"]
RESULTS = st.lists(st.none() | st.sampled_from(Result))


@pytest.mark.parametrize(("better", "worse"), itertools.combinations(ORDER, 2))
def test_of_two_results_one_is_worse(better: str, worse: str) -> None:
    assert worst([better, worse]) == worst([worse, better]) == worse


@given(RESULTS)
def test_what_has_not_run_counts_for_nothing(results: list[Result | None]) -> None:
    ran = [result for result in results if result is not None]
    assert worst(results) == worst(ran)
    assert (worst(results) is None) == (not ran)
    assert worst(results) in (None, *ran)


@given(st.lists(RESULTS))
def test_the_worst_of_steps_is_the_worst_of_their_entries(steps: list[list[Result | None]]) -> None:
    assert worst(map(worst, steps)) == worst(itertools.chain(*steps))


@given(st.sampled_from(Result), st.frozensets(st.sampled_from(Result)), st.integers(1, 5))
def test_rules(result: Result, some: frozenset[Result], attempts: int) -> None:
    rules = Rules(retry=Retry(tuple(some), attempts), continue_on=tuple(some))
    assert rules.breaks(result) == (result != Result.PASS and result not in some)
    tries = 1
    while rules.runs_again(result, tries):
        tries += 1
    assert tries == (attempts if result in some else 1)
    assert not Rules().runs_again(result, 1)
