"""How long a plan is looked at before it is accepted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from labapi.api.plan_cases import PATIENCE, PlanCases
from labapi.exceptions import InvalidInput
from labapi.plans.problems import Problems


class Slow:
    """Finds all hosts, which takes time of a clock that the test sets."""

    def __init__(self, takes: float) -> None:
        self.takes = takes
        self.now = 0.0

    def every(self, request: Any, body: Mapping[str, Any]) -> list[str]:
        self.now += self.takes
        return ["lab-1"]


@pytest.mark.parametrize(("read", "takes", "times"), [(60.0, 0.1, 5), (0.0, PATIENCE + 1, 1)])
def test_the_time_for_all_hosts_is_that_which_it_takes(
    read: float, takes: float, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: Any = Slow(takes)
    nothing: Any = None
    monkeypatch.setattr(time, "thread_time", lambda: where.now)
    cases = PlanCases(nothing, nothing, where, nothing, Problems())
    where.now += read  # as long as the rest of a large plan takes to read
    assert [cases.every({"hosts": "all"}) for _ in range(times)] == [["lab-1"]] * times
    if takes > PATIENCE:
        with pytest.raises(InvalidInput, match="too many entries"):
            cases.every({"hosts": "all"})
