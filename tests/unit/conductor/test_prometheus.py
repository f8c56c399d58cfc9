"""What a conductor counts for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from labapi.conductor.prometheus import PrometheusMeters

NAME = "labapi_conductor_cases_finished_total"


def count(registry: CollectorRegistry, result: str, reason: str) -> float | None:
    return registry.get_sample_value(NAME, {"result": result, "reason": reason})


def test_agents_make_no_new_series() -> None:
    registry = CollectorRegistry()
    meters = PrometheusMeters(registry)
    for number in range(1000):
        meters.ended(f"PASS{number}", f"invented{number}")
    meters.ended("PASS", None)
    assert count(registry, "other", "other") == 1000
    assert count(registry, "PASS", "") == 1
    (family,) = (found for found in registry.collect() if f"{found.name}_total" == NAME)
    assert len(family.samples) < 50


def test_what_alerts_are_about_begins_with_0() -> None:
    registry = CollectorRegistry()
    PrometheusMeters(registry)
    for reason in ("agent_lost", "expired", "no_space"):
        assert count(registry, "ERROR", reason) == 0
