"""Write Grafana's dashboard of a lab, with a panel for each number: ``make samples``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from labapi.agent.attempts.slots import Counts
from labapi.agent.meters import Meters as AgentMeters
from labapi.agent.meters import Numbers
from labapi.conductor.meters import Began
from labapi.conductor.prometheus import PrometheusMeters
from labapi.metrics.page import Page
from labapi_middleware.metrics.meters import Meters as APIMeters

Json = dict[str, Any]

WIDTH, HEIGHT, COLUMNS = 12, 8, 24  # of a panel, and of the whole, in Grafana's units
BEYOND = {"le", "quantile"}  # labels that are no dimension of the number
SOURCE = {"type": "prometheus", "uid": "${source}"}


def families() -> list[Any]:
    """Return the numbers that there are, as Prometheus reads them: each with its labels."""
    return [*_of_programs(), *_of_api()]


def _of_programs() -> Iterator[Any]:
    page = Page("", SimpleNamespace(host="", metrics_host="127.0.0.1", metrics_port=1))
    conductor = PrometheusMeters(page.registry)
    conductor.ended("", "")
    conductor.began([Began(0.0, 0.0)])
    conductor.read("", 1, 0)
    conductor.hosts(0, 0)
    conductor.plans({"": 0})
    numbers = Numbers(lambda: Counts(0, 0, 0), lambda: {"": 0}, lambda: 0)
    page.registry.register(AgentMeters(1, numbers))
    return text_string_to_metric_families(generate_latest(page.registry).decode())


def _of_api() -> Iterator[Any]:
    meters = APIMeters()
    meters.use_buckets((1.0,))
    meters.requests.labels("", "", "")
    meters.durations.labels("", "")
    return text_string_to_metric_families(meters.text().decode())


def dashboard() -> Json:
    """Return the dashboard."""
    shown = [family for family in families() if not family.name.endswith("_created")]
    return {
        "title": "labapi",
        "uid": "labapi",
        "tags": ["labapi"],
        "timezone": "browser",
        "refresh": "30s",
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "source",
                    "label": "Prometheus",
                    "type": "datasource",
                    "query": "prometheus",
                }
            ]
        },
        "panels": [_panel(number, family) for number, family in enumerate(shown)],
    }


def _panel(number: int, family: Any) -> Json:
    column = number * WIDTH % COLUMNS
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": family.name.removeprefix("labapi_").replace("_", " "),
        "description": f"{family.name}: {family.documentation}",
        "datasource": SOURCE,
        "gridPos": {"x": column, "y": number * WIDTH // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": _unit(family), "min": 0}, "overrides": []},
        "targets": [
            {"refId": ref, "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for ref, (expr, legend) in zip("ABC", _queries(family), strict=False)
        ],
    }


def _queries(family: Any) -> list[tuple[str, str]]:
    """Return expressions, each with the legend of its lines."""
    labels = sorted({name for sample in family.samples for name in sample.labels} - BEYOND)
    legend = " ".join(f"{{{{{name}}}}}" for name in labels)
    by = f" by ({', '.join(labels)})" if labels else ""
    if family.type == "counter":
        return [(f"sum{by} (rate({family.name}_total[$__rate_interval]))", legend)]
    if family.type == "histogram":
        rate = f"rate({family.name}_bucket[$__rate_interval])"
        within = f"sum by ({', '.join(['le', *labels])}) ({rate})"
        return [
            (f"histogram_quantile({share}, {within})", f"{share:.0%} {legend}".strip())
            for share in (0.5, 0.95)
        ]
    # Every conductor shows the same of the lab as a whole; agents show each its own.
    total = "max" if family.name.startswith("labapi_conductor_") else "sum"
    return [(f"{total}{by} ({family.name})", legend)]


def _unit(family: Any) -> str:
    if family.name.endswith("_seconds"):
        return "s"
    return "ops" if family.type == "counter" else "short"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=2) + "\n")
