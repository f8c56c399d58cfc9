"""A table of hosts in, the host that is chosen out: one for each weigher."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest

from tests.unit.scheduler.hosts import names, only, request, scheduler, table

# (weigher, hosts with the best first, what is asked)
TABLES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "free_slots",
        {
            "h-1": {"slots": 8, "active": 1},
            "h-2": {"slots": 4, "active": 1},
            "h-3": {"slots": 16, "active": 15},
            "h-4": {"slots": 4, "active": 4},
        },
        {},
    ),
    (
        "memory",
        {
            "h-1": {"facts": {"memory_total_mib": 100, "memory_available_mib": 90}},
            "h-2": {"facts": {"memory_total_mib": 1000, "memory_available_mib": 100}},
            "h-3": {"facts": {"memory_total_mib": 1000, "memory_available_mib": "all"}},
        },
        {},
    ),
    (
        "load",
        {
            "h-1": {"facts": {"load1": 0.0}},
            "h-2": {"facts": {"load1": 3.0}, "slots": 16},
            "h-3": {"facts": {"load1": 2.5}},
            "h-4": {"facts": {"load1": 1e14}},
            "h-5": {},
        },
        {},
    ),
    ("faults", {"h-1": {}, "h-2": {"faults": 1}, "h-3": {"faults": 7}}, {}),
    (
        "affinity",
        {"h-1": {}, "h-2": {}, "h-3": {}},
        {"batch_hosts": {"h-1": 2, "h-2": 1}},
    ),
    (
        "anti_affinity",
        {"h-1": {}, "h-2": {}, "h-3": {}},
        {"batch_hosts": {"h-2": 1, "h-3": 2}},
    ),
    (
        "prefer",
        {
            "h-1": {"metadata": {"rack": "r7", "fast": "yes"}},
            "h-2": {"metadata": {"rack": "r7"}},
            "h-3": {},
        },
        {"prefer": ("rack=r7", "fast")},
    ),
]


@pytest.mark.parametrize(("name", "rows", "asked"), TABLES)
def test_a_weigher_prefers_the_right_hosts(
    name: str, rows: dict[str, Any], asked: dict[str, Any]
) -> None:
    spec = request(**asked)
    for multiplier, best_first in (("1.0", list(rows)), ("-2", list(reversed(rows)))):
        driver = only(weighers={name: multiplier})
        assert names(driver.explain(spec, table(rows)).hosts) == best_first
        assert names(driver.select(spec, table(rows))) == best_first[:1]


def test_there_is_a_table_for_each_weigher() -> None:
    points = metadata.entry_points(group="labapi.scheduler.weighers")
    ours = {point.name for point in points if point.value.startswith("labapi.")}
    assert {name for name, *_ in TABLES} == ours
    assert set(scheduler().conf.scheduler.weighers) == ours - {"affinity"}


@pytest.mark.parametrize(
    "facts",
    [
        {"memory_total_mib": 0, "memory_available_mib": 5},
        {"memory_total_mib": 10**300, "memory_available_mib": 10**300},
        {"memory_total_mib": -5, "memory_available_mib": 5},
        {"memory_total_mib": 5, "memory_available_mib": 10**14},
        {"memory_total_mib": "x", "memory_available_mib": []},
        {"load1": -1.0},
        {"load1": None},
    ],
)
def test_whatever_agents_tell_a_weight_is_bounded(facts: dict[str, Any]) -> None:
    """A host that tells nonsense is no better than the best honest one."""
    honest = {"load1": 0.0, "memory_total_mib": 8, "memory_available_mib": 8}
    hosts = table({"h-1": {"facts": facts}, "h-2": {"facts": honest}})
    driver = only(weighers={"memory": "1", "load": "1"})
    assert names(driver.select(request(), hosts)) == ["h-2"]
