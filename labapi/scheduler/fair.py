"""The order in which waiting cases get what becomes free."""

from __future__ import annotations

import datetime
import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from oslo_config import cfg

from labapi.exceptions import ConfigError


class Waiting(Protocol):
    """What the order depends on: columns of a case."""

    @property
    def id(self) -> int:
        """Grows with time."""

    @property
    def queue_rank(self) -> int:
        """The negative of the priority."""

    @property
    def project_id(self) -> str | None:
        """Whose it is."""

    @property
    def created_at(self) -> datetime.datetime:
        """Since when it waits."""


W = TypeVar("W", bound=Waiting)


@dataclass(frozen=True)
class Rules:
    """What is fair here.

    :ivar patience: a case that has waited so long is overdue: it comes before all that are not
    :ivar shares: what projects are entitled to, in comparison; who is not named has 1
    """

    patience: datetime.timedelta = datetime.timedelta(seconds=300)
    shares: Mapping[str, float] = field(default_factory=dict)

    def is_overdue(self, case: Waiting, now: datetime.datetime) -> bool:
        """Say whether a case has waited longer than it should."""
        return now - case.created_at >= self.patience


def rules(conf: cfg.ConfigOpts) -> Rules:
    """Return the rules that are configured.

    :raises ConfigError: a share is not a number above 0
    """
    shares: dict[str, float] = {}
    for project, share in conf.scheduler.shares.items():
        try:
            shares[project] = float(share)
        except ValueError:
            shares[project] = 0.0
        if not 0 < shares[project] < float("inf"):
            raise ConfigError(f"[scheduler] shares: {project}:{share}: expected a number above 0")
    return Rules(datetime.timedelta(seconds=conf.scheduler.patience), shares)


def order(
    cases: Iterable[W], usage: Mapping[str | None, int], now: datetime.datetime, fair: Rules
) -> list[W]:
    """Return waiting cases in the order in which they get what becomes free.

    First those that are overdue, the oldest first: nobody waits for ever, however many urgent cases
    come. Then by priority; of the same priority that of the project which has least for its share,
    what was handed out on the way counted; of the same project the oldest.

    :param usage: how many cases of each project hosts have now; who is not named has none
    """
    overdue: list[W] = []
    in_time: dict[int, list[W]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: case.id):
        if fair.is_overdue(case, now):
            overdue.append(case)
        else:
            in_time[case.queue_rank].append(case)
    used: dict[str | None, float] = defaultdict(float, usage)
    overdue.sort(key=lambda case: case.created_at)
    for case in overdue:
        used[case.project_id] += 1
    found = overdue
    for rank in sorted(in_time):
        found += _by_share(in_time[rank], used, fair)
    return found


def _by_share(cases: Iterable[W], used: dict[str | None, float], fair: Rules) -> list[W]:
    """Take turns among projects; ``used`` is counted up."""
    queues: dict[str | None, deque[W]] = defaultdict(deque)
    for case in cases:
        queues[case.project_id].append(case)

    def turn(project: str | None) -> tuple[float, int, str | None]:
        return used[project] / fair.shares.get(project or "", 1.0), queues[project][0].id, project

    turns = [turn(project) for project in queues]
    heapq.heapify(turns)
    found: list[W] = []
    while turns:
        _, _, project = turns[0]
        found.append(queues[project].popleft())
        used[project] += 1
        if queues[project]:
            heapq.heapreplace(turns, turn(project))
        else:
            heapq.heappop(turns)
    return found
