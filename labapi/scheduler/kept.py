"""What is known of all hosts, put right for those that have changed since it was asked for last."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence, Set

from sortedcontainers import SortedList

from labapi.scheduler.host_state import HostState

# So many of the best hosts are tried before those are sorted that are in the sets asked for.
TRIED = 64
# Hosts are few if they are less than one of so many.
FEW = 4

Predicate = Callable[[HostState], bool]
Weight = Callable[[HostState], float]
_Key = tuple[float, float, int]  # the weight below 0, a number that was drawn, the id


class Unread:
    """The hosts of which something holds, before anybody has looked at all of them."""

    def __init__(self, holds: Predicate, hosts: dict[int, HostState]) -> None:
        self._holds = holds
        self._hosts = hosts

    def __contains__(self, host_id: int) -> bool:
        return self._holds(self._hosts[host_id])


Ids = Set[int] | Unread


class Changes:
    """The ids of hosts in the order in which they changed, as far back as is worth while."""

    LONGEST = 100_000

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._dropped = 0

    def note(self, host_id: int) -> None:
        """Take note that a host has changed."""
        self._ids.append(host_id)
        if len(self._ids) > self.LONGEST:
            drop = len(self._ids) // 2
            del self._ids[:drop]
            self._dropped += drop

    @property
    def end(self) -> int:
        """How many there have been."""
        return self._dropped + len(self._ids)

    def since(self, begin: int) -> list[int] | None:
        """Return those after so many; None: they are no longer known."""
        return None if begin < self._dropped else self._ids[begin - self._dropped :]


class Follower:
    """Something that is known of all hosts, and put right for those that have changed since."""

    def __init__(self, logs: Sequence[Changes]) -> None:
        self._logs = logs
        self._seen: list[int] | None = None

    def changed(self) -> set[int] | None:
        """Return the ids of hosts that have changed since it was right; None: any may have."""
        found: set[int] | None = None if self._seen is None else set()
        for log, seen in zip(self._logs, self._seen or (), strict=False):
            ids = log.since(seen)
            found = None if found is None or ids is None else found.union(ids)
        return found

    def is_right(self) -> None:
        """Take note that nothing is to be put right any more."""
        self._seen = [log.end for log in self._logs]


class Members(Follower):
    """The hosts of which something holds."""

    def __init__(self, holds: Predicate, logs: Sequence[Changes]) -> None:
        super().__init__(logs)
        self._holds = holds
        self._ids: set[int] = set()

    def __len__(self) -> int:
        return len(self._ids)

    def refreshed(self, hosts: dict[int, HostState]) -> Set[int]:
        """Return the ids of those of which it holds now."""
        changed = self.changed()
        if changed is None:
            self._ids = {host_id for host_id, host in hosts.items() if self._holds(host)}
        for host_id in changed or ():
            host = hosts.get(host_id)
            if host is not None and self._holds(host):
                self._ids.add(host_id)
            else:
                self._ids.discard(host_id)
        self.is_right()
        return self._ids


def parted(sets: Iterable[Ids]) -> tuple[list[Set[int]], list[Unread]]:
    """Return the sets that are known, the smallest first, and the others."""
    known: list[Set[int]] = []
    unread: list[Unread] = []
    for ids in sets:
        if isinstance(ids, Unread):
            unread.append(ids)
        else:
            known.append(ids)
    return sorted(known, key=len), unread


def _in_all(sets: list[Set[int]]) -> set[int]:
    """Return the ids that are in all of some sets; those that are only looked in are not read."""
    found = set(sets[0]).intersection(*(ids for ids in sets[1:] if isinstance(ids, set)))
    others = [ids for ids in sets[1:] if not isinstance(ids, set)]
    return {one for one in found if all(one in ids for ids in others)} if others else found


class Order(Follower):
    """Hosts by weight, the heaviest first; equal ones in an order that each process draws itself.

    So conductors that decide at the same moment choose different ones among equals.
    """

    def __init__(self, weight: Weight, logs: Sequence[Changes]) -> None:
        super().__init__(logs)
        self.weight = weight
        self._keys: dict[int, _Key] = {}
        self._sorted = SortedList()

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[tuple[float, int]]:
        """Go through weights and ids from the best host down."""
        return ((-weight, host_id) for weight, _, host_id in self._sorted)

    def among(self, sets: Iterable[Ids]) -> Iterator[tuple[float, int]]:
        """Go through weights and ids of the hosts that are in all of some sets, in this order.

        Where none of the best hosts is in them, those that are in them are put in order by
        themselves if they are few: they may be all at the end.
        """
        whole, unread = parted(sets)
        return (
            (-weight, host_id)
            for weight, _, host_id in self._in_order(whole)
            if all(host_id in ids for ids in unread)
        )

    def _in_order(self, sets: list[Set[int]]) -> Iterator[_Key]:
        best = iter(self._sorted)
        last: _Key = (-math.inf, 0.0, 0)
        if not sets or len(sets[0]) > TRIED:
            for last in itertools.islice(best, TRIED):
                if all(last[2] in ids for ids in sets):
                    yield last
        found = _in_all(sets) if sets else self._keys.keys()
        if len(found) * FEW > len(self._keys):
            yield from (key for key in best if key[2] in found)
            return
        rest = [key for host_id in found if (key := self._keys[host_id]) > last]
        heapq.heapify(rest)  # the first ones are mostly enough
        while rest:
            yield heapq.heappop(rest)

    def of(self, host_id: int) -> float:
        """Return the weight of a host."""
        return -self._keys[host_id][0]

    def refresh(self, hosts: dict[int, HostState]) -> None:
        """Put the hosts that have changed in their places."""
        changed = self.changed()
        if changed is None or len(changed) * FEW > len(hosts):
            self._keys = {host_id: self._key(host) for host_id, host in hosts.items()}
            self._sorted = SortedList(self._keys.values())
            changed = set()
        for host_id in changed:
            known = self._keys.pop(host_id, None)
            if known is not None:
                self._sorted.remove(known)
            host = hosts.get(host_id)
            if host is not None:
                key = self._keys[host_id] = self._key(host)
                self._sorted.add(key)
        self.is_right()

    def _key(self, host: HostState) -> _Key:
        return -self.weight(host), random.random(), host.id  # noqa: S311
