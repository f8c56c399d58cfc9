"""What the scheduler has explained, kept until the hosts are read again: who waits asks often."""

from __future__ import annotations

import array
import hashlib
from collections import OrderedDict
from collections.abc import Collection, Hashable

from labapi.scheduler.driver import Driver, Explanation
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.requests import shape
from labapi.scheduler.spec import RequestSpec

# Explanations that are kept; with 10,000 hosts that would all do, each takes 80 kB.
KEPT = 256


class Explained:
    """Explains requests; it is used by whoever has the hosts, so by one thread at a time."""

    def __init__(self, scheduler: Driver) -> None:
        self._scheduler = scheduler
        self._known: Hashable = None
        self._kept: OrderedDict[tuple[bytes, bytes | None], Explanation] = OrderedDict()

    def of(
        self, asked: RequestSpec, hosts: HostStates, seen: Collection[int] | None, known: Hashable
    ) -> Explanation:
        """Return what the scheduler says, for reading only.

        Those who may see different hosts share no answer.

        :param hosts: all
        :param seen: the ids of those that the answer may be about; None: all
        :param known: is another value when more is known of the hosts
        """
        if known != self._known:
            self._kept.clear()
            self._known = known
        key = (hashlib.sha256(shape(asked)).digest(), _digest(seen))
        found = self._kept.get(key)
        if found is None:
            some = hosts if seen is None else HostStates(map(hosts.__getitem__, seen))
            found = self._kept[key] = self._scheduler.explain(asked, some)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return found


def _digest(seen: Collection[int] | None) -> bytes | None:
    # The ids themselves would take half a megabyte.
    return None if seen is None else hashlib.sha256(array.array("q", sorted(seen))).digest()
