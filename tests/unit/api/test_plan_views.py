"""How test plans look from outside."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from labapi.api.views import testplans as views
from labapi.plans.summary import Summary

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)


class Counted(list[Any]):
    """A list that knows how often it was gone through."""

    times = 0

    def __iter__(self) -> Iterator[Any]:
        self.times += 1
        return super().__iter__()


def test_a_plan_of_many_test_cases_is_gone_through_a_few_times() -> None:
    step = {"name": "Serial-Step-1", "description": None}
    outline = [{"name": f"{n}", "description": None, "steps": [step]} for n in range(50)]
    about: Any = {**dict.fromkeys(Summary.__struct_fields__), "uuid": "u", "name": "many"}
    plan: Any = SimpleNamespace(**about, outline=outline, notify=None)
    ended = {"state": "finished", "flaky": 0, "count": 1, "started_at": NOW, "finished_at": NOW}
    tallies = Counted(
        SimpleNamespace(test_case=n, step=0, result="FAIL" if n == 7 else "PASS", **ended)
        for n in range(50)
    )
    shown = views.whole(plan, tallies, (), ())
    assert shown.counts["PASS"] == 49
    assert [name for name, node in shown.testplan.items() if node["result"] == "FAIL"] == ["7"]
    assert tallies.times < 5
