"""What an agent has in hand, for Prometheus: looked up when it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from oslo_config import cfg

from labapi.agent.attempts.slots import Counts
from labapi.metrics.page import Page

if TYPE_CHECKING:
    from prometheus_client import Metric


class Numbers(NamedTuple):
    """Where the numbers are found.

    :ivar counts: how many attempts there are
    :ivar ended: how many were reported since the start, by result
    :ivar unsent: how many reports the message broker does not have yet
    """

    counts: Callable[[], Counts]
    ended: Callable[[], Mapping[str, int]]
    unsent: Callable[[], int]


def page(options: cfg.ConfigOpts.GroupAttr, numbers: Numbers) -> Page | None:
    """Return the page that shows the numbers, None if nobody wants to see them.

    :param options: the group ``[agent]``
    """
    if options.metrics_port is None:
        return None
    made = Page("labapi-agent", options)
    made.registry.register(Meters(options.slots, numbers))
    return made


class Meters:
    """A collector of prometheus_client.

    :param slots: how many cases may run at the same time
    """

    def __init__(self, slots: int, numbers: Numbers) -> None:
        self._slots = slots
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        """Yield the numbers of this moment."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        counts = self._numbers.counts()
        for name, meaning, value in (
            ("cases_running", "Cases whose method runs.", counts.running),
            ("cases_waiting", "Cases that wait here for a slot.", counts.waiting),
            ("cases_stuck", "Cases that were given up and do not end.", counts.abandoned),
            ("slots", "Cases that may run at the same time.", self._slots),
            ("reports_unsent", "Reports that wait for the broker.", self._numbers.unsent()),
        ):
            yield GaugeMetricFamily(f"labapi_agent_{name}", meaning, value)
        finished = CounterMetricFamily(
            "labapi_agent_cases_finished", "Cases that ended since the start.", labels=("result",)
        )
        for result, count in self._numbers.ended().items():
            finished.add_metric([result], count)
        yield finished
