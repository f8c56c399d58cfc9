"""The driver that draws lots."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from oslo_config import cfg

from labapi.scheduler.filter_scheduler import FilterScheduler
from labapi.scheduler.kept import Ids, Order, parted
from labapi.scheduler.weighing import Weighing


class Chance(FilterScheduler):
    """Takes any host that will do, each with the same probability."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf, Weighing())

    def walk(self, sets: list[Ids], order: Order) -> Iterable[tuple[float, int]]:
        """Go through the hosts in an order that is drawn anew each time."""
        known, _ = parted(sets)
        found = list(known[0]) if known else [host_id for _, host_id in order]
        return ((0.0, host_id) for host_id in _drawn(found) if all(host_id in ids for ids in sets))


def _drawn(ids: list[int]) -> Iterator[int]:
    """Draw one after the other: the first one is mostly enough."""
    while ids:
        at = random.randrange(len(ids))  # noqa: S311
        ids[at], ids[-1] = ids[-1], ids[at]
        yield ids.pop()
