"""What a conductor counts, as Prometheus wants it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from labapi.case import Reason, Result
from labapi.conductor.meters import Began, Meters

_RESULTS = frozenset(Result)
_REASONS = frozenset({"", *Reason})
OTHER = "other"  # in the place of a word that a plugin has added
NO_ERRORS = frozenset({Reason.TIMEOUT, Reason.CANCELLED})
WAITED = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400)  # seconds
ON_ITS_WAY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120)  # seconds
BATCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # messages


class PrometheusMeters(Meters):
    """Counts for Prometheus.

    :param registry: where the numbers are shown
    """

    on = True

    def __init__(self, registry: CollectorRegistry) -> None:
        self._finished = Counter(
            "labapi_conductor_cases_finished_total",
            "Cases whose end this conductor wrote down.",
            ("result", "reason"),
            registry=registry,
        )
        # A series that begins with 1 shows no increase: those that alerts are about begin with 0.
        for reason in Reason:
            if reason not in NO_ERRORS:
                self._finished.labels(Result.ERROR, reason)
        self._waited = Histogram(
            "labapi_conductor_case_wait_seconds",
            "Time from the POST of a case until a host was given it.",
            buckets=WAITED,
            registry=registry,
        )
        self._on_its_way = Histogram(
            "labapi_conductor_case_start_seconds",
            "Time from there until its method ran.",
            buckets=ON_ITS_WAY,
            registry=registry,
        )
        self._resent = Counter(
            "labapi_conductor_commands_resent_total",
            "Commands sent again because no agent had answered.",
            registry=registry,
        )
        self._refused = Counter(
            "labapi_conductor_reports_refused_total",
            "Reports that count for nothing: of another attempt or host than the current one.",
            registry=registry,
        )
        self._dropped = Counter(
            "labapi_conductor_messages_dropped_total",
            "Messages that became dead letters.",
            ("reader",),
            registry=registry,
        )
        self._batches = Histogram(
            "labapi_conductor_batch_messages",
            "Messages that were worked off together.",
            ("reader",),
            buckets=BATCHES,
            registry=registry,
        )
        self._hosts = Gauge(
            "labapi_conductor_hosts", "Hosts on the list.", ("state",), registry=registry
        )
        self._moves = Counter(
            "labapi_conductor_plan_moves_total",
            "Transactions that moved test plans on.",
            registry=registry,
        )
        self._plans = Gauge(
            "labapi_conductor_plans",
            "Test plans that are not finished.",
            ("state",),
            registry=registry,
        )
        self._waiting = Gauge(
            "labapi_conductor_cases_waiting", "Cases that no host was given yet.", registry=registry
        )
        self._oldest = Gauge(
            "labapi_conductor_oldest_waiting_seconds",
            "Time since the POST of the oldest of these.",
            registry=registry,
        )

    def ended(self, result: str, reason: str | None, count: int = 1) -> None:
        """Count cases that are finished."""
        if count:
            # What an agent makes up does not make a new series.
            known = result if result in _RESULTS else OTHER
            why = reason or ""
            self._finished.labels(known, why if why in _REASONS else OTHER).inc(count)

    def began(self, cases: Iterable[Began]) -> None:
        """Note how long cases took to begin."""
        for case in cases:
            self._waited.observe(case.waited)
            self._on_its_way.observe(case.on_its_way)

    def resent(self, count: int) -> None:
        """Count commands that were sent again."""
        self._resent.inc(count)

    def refused(self) -> None:
        """Count a report that counts for nothing."""
        self._refused.inc()

    def read(self, reader: str, messages: int, dropped: int) -> None:
        """Note how many messages a reader took at once, and how many of them it dropped."""
        self._batches.labels(reader).observe(messages)
        self._dropped.labels(reader).inc(dropped)

    def hosts(self, up: int, down: int) -> None:
        """Note how many hosts are up, and how many are not."""
        self._hosts.labels("up").set(up)
        self._hosts.labels("down").set(down)

    def moved(self) -> None:
        """Count a transaction that moved a test plan on."""
        self._moves.inc()

    def plans(self, states: Mapping[str, int]) -> None:
        """Note how many test plans are in each state."""
        for state, count in states.items():
            self._plans.labels(state).set(count)

    def waiting(self, cases: int, oldest: float) -> None:
        """Note how many cases wait, and the age of the oldest in seconds."""
        self._waiting.set(cases)
        self._oldest.set(oldest)
