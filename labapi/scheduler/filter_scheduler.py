"""The driver that asks filters which hosts will do, and weighers which of them is best."""

from __future__ import annotations

import bisect
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import itemgetter

import msgspec
from oslo_config import cfg
from oslo_log import log

from labapi.scheduler import entry_points, foreign, weighing
from labapi.scheduler.driver import Driver, Explanation
from labapi.scheduler.filters import Filter, Lack
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.kept import Ids, Order
from labapi.scheduler.spec import RequestSpec
from labapi.scheduler.weighing import Weighing

LOG = log.getLogger(__name__)

GUARDS = ("access", "group", "lease")  # keep hosts for those for whom they are


class FilterScheduler(Driver):
    """Walks hosts from the best weight down, and stops when nothing better can come.

    :ivar filters: in the order in which they are asked
    :ivar weighing: what the weighers say
    """

    def __init__(self, conf: cfg.ConfigOpts, weighers: Weighing | None = None) -> None:
        super().__init__(conf)
        self.filters: list[Filter] = [
            entry_points.load(Filter, "filters", name, conf) for name in conf.scheduler.filters
        ]
        missing = [name for name in GUARDS if name not in conf.scheduler.filters]
        if missing:
            LOG.warning(
                "[scheduler] filters: without %s cases without a host run on hosts that are not for"
                " them",
                ", ".join(missing),
            )
        self.weighing = weighing.load(conf) if weighers is None else weighers
        self._subset: int = conf.scheduler.host_subset_size

    def select(self, spec: RequestSpec, hosts: HostStates, count: int = 1) -> list[HostState]:
        """Choose a host for each of some equal cases, and consume it before the next is chosen."""
        chosen: list[HostState] = []
        filters = self._asked(spec)
        if count > 1:
            filters = [_Once(one) if one.run_filter_once_per_request else one for one in filters]
        for _ in range(count):
            best = self._choose(spec, hosts, filters)
            if best is None:
                break
            hosts.consume(best)
            chosen.append(best)
            given = {**spec.batch_hosts, best.host: spec.batch_hosts.get(best.host, 0) + 1}
            spec = msgspec.structs.replace(spec, batch_hosts=given)
        return chosen

    def explain(self, spec: RequestSpec, hosts: HostStates) -> Explanation:
        """Ask every filter about every host."""
        filters = self._asked(spec)
        turned_away: Counter[str] = Counter()
        passing: list[HostState] = []
        others: list[tuple[int, float, int, list[Lack]]] = []
        order = hosts.by_weight(self.weighing.base)
        for host in hosts:
            lacks, concealed = _lacks(filters, host, spec)
            if not lacks:
                passing.append(host)
                continue
            turned_away[lacks[0].asked] += 1
            if not concealed:
                others.append((len(lacks), -order.of(host.id), host.id, lacks))
        for each in (one for one in filters if one.sees_all):
            kept = list(each.filter_all(passing, spec))
            turned_away[each.name] += len(passing) - len(kept)
            passing = kept
        weighers = self.weighing.for_request(spec)
        weights = {
            host.id: order.of(host.id) + weighing.added(weighers, host, spec) for host in passing
        }
        _, _, nearest, lacks = min(others, default=(0, 0, 0, []))
        return Explanation(
            sorted(passing, key=lambda host: weights[host.id], reverse=True),
            {asked: number for asked, number in turned_away.items() if number},
            hosts.get(nearest),
            [str(lack) for lack in lacks],
        )

    def why_not(self, spec: RequestSpec, host: HostState) -> str | None:
        """Say why a case may not be given to a host; None: it may."""
        for each in self._asked(spec):
            for lack in foreign.lacks(each, host, spec):
                return str(lack)
        return None

    def walk(self, sets: list[Ids], order: Order) -> Iterable[tuple[float, int]]:
        """Go through weights and ids of hosts in the order in which they are tried.

        :param sets: in all of which the hosts are
        :param order: all hosts by weight
        """
        return order.among(sets)

    def _asked(self, spec: RequestSpec) -> list[Filter]:
        return [each for each in self.filters if each.applies(spec)]

    def _choose(
        self, spec: RequestSpec, hosts: HostStates, filters: list[Filter]
    ) -> HostState | None:
        """Return one of the best hosts; with no better one to come, the others are not tried."""
        weighers = self.weighing.for_request(spec)
        more = weighing.most(weighers)
        best: list[tuple[float, HostState]] = []
        for base, host in self._candidates(spec, hosts, filters):
            if len(best) == self._subset and base + more <= -best[-1][0]:
                break
            weight = base + weighing.added(weighers, host, spec) if weighers else base
            bisect.insort(best, (-weight, host), key=itemgetter(0))
            del best[self._subset :]
        return random.choice(best)[1] if best else None  # noqa: S311

    def _candidates(
        self, spec: RequestSpec, hosts: HostStates, filters: list[Filter]
    ) -> Iterator[tuple[float, HostState]]:
        """Go through the hosts that will do, with the part of their weight that is kept."""
        sets = [ids for each in filters for ids in each.index(spec, hosts)]
        order = hosts.by_weight(self.weighing.base)
        found = ((weight, hosts[host_id]) for weight, host_id in self.walk(sets, order))
        passing = (
            (weight, host) for weight, host in found if foreign.all_pass(filters, host, spec)
        )
        whole = [each for each in filters if each.sees_all]
        return _seen_by_all(whole, passing, spec) if whole else passing


class _Once(Filter):
    """Asks a filter once about each host, or once about all of them."""

    def __init__(self, asked: Filter) -> None:
        super().__init__(asked.conf)
        self._asked = asked
        self._answers: dict[int, bool] = {}
        self._kept: set[int] | None = None
        self.sees_all = asked.sees_all

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        answer = self._answers.get(host.id)
        if answer is None:
            answer = self._answers[host.id] = self._asked.passes(host, spec)
        return answer

    def filter_all(self, hosts: Iterable[HostState], spec: RequestSpec) -> Iterable[HostState]:
        found = list(hosts)
        if self._kept is None:
            self._kept = {host.id for host in self._asked.filter_all(found, spec)}
        return [host for host in found if host.id in self._kept]

    def index(self, spec: RequestSpec, hosts: HostStates) -> Iterable[Ids]:
        return self._asked.index(spec, hosts)


def _seen_by_all(
    filters: list[Filter], hosts: Iterable[tuple[float, HostState]], spec: RequestSpec
) -> Iterator[tuple[float, HostState]]:
    found = list(hosts)
    kept: Iterable[HostState] = [host for _, host in found]
    for each in filters:
        kept = list(each.filter_all(kept, spec))
    ids = {host.id for host in kept}
    return ((weight, host) for weight, host in found if host.id in ids)


def _lacks(filters: list[Filter], host: HostState, spec: RequestSpec) -> tuple[list[Lack], bool]:
    """Return what a host lacks, and whether nothing else may be said of it."""
    found: list[Lack] = []
    for each in filters:
        lacks = foreign.lacks(each, host, spec)
        if lacks and each.conceals:
            return [Lack(each.name)], True
        found += lacks
    return found, False
