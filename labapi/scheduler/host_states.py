"""The hosts that a decision is made among, found without looking at each of them.

Sets of hosts and the order of their weights are made when they are first asked for, and put right
for the hosts that have changed since when they are asked for again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Set

from labapi.scheduler.host_state import HostState
from labapi.scheduler.kept import Changes, Ids, Members, Order, Predicate, Unread, Weight
from labapi.scheduler.requirements import Requirement
from labapi.scheduler.values import Values
from labapi.scheduler.vocabulary import Vocabulary

# Sets of hosts that are kept, and ids in all of them: they take some 50 MB at most. Sets of few
# hosts are those that spare most.
KEPT = 1024
KEPT_IDS = 1_000_000
# Keys of metadata and facts by whose values hosts are kept; with 10,000 hosts each takes some 2 MB,
# more where they are lists.
KEPT_KEYS = 32


class HostStates:
    """Hosts by their ids. It is used by one thread at a time: who shares it, locks it.

    :ivar vocabulary: the words that these hosts have ever used of themselves
    :param hosts: what is known of them now
    """

    def __init__(self, hosts: Iterable[HostState] = ()) -> None:
        self._hosts: dict[int, HostState] = {}
        self._ids: dict[str, int] = {}
        self._sets: OrderedDict[Hashable, Members] = OrderedDict()
        self._kept = 0  # ids in all sets
        self._values: OrderedDict[str, Values] = OrderedDict()  # by key
        self._order: Order | None = None
        self._changes = Changes()
        self._room_changes = Changes()
        self.vocabulary = Vocabulary()
        for host in hosts:
            self.add(host)

    def __len__(self) -> int:
        return len(self._hosts)

    @property
    def changes(self) -> int:
        """How many changes there have been: as long as it is the same, so is every answer."""
        return self._changes.end + self._room_changes.end

    def __iter__(self) -> Iterator[HostState]:
        return iter(self._hosts.values())

    def __getitem__(self, host_id: int) -> HostState:
        return self._hosts[host_id]

    def get(self, host_id: int) -> HostState | None:
        """Return the host with an id, if there is one."""
        return self._hosts.get(host_id)

    def named(self, name: str) -> HostState | None:
        """Return the host with a name, if there is one."""
        host_id = self._ids.get(name)
        return None if host_id is None else self._hosts[host_id]

    def add(self, host: HostState) -> None:
        """Add a host, or replace what was known of it."""
        known = self._hosts.get(host.id)
        if known is not None and self._ids.get(known.host) == host.id:
            del self._ids[known.host]
        self._hosts[host.id] = host
        self._ids[host.host] = host.id
        self.update(host)

    def update(self, host: HostState) -> None:
        """Take note that a host was changed where it stands."""
        self.vocabulary.note(host)
        self._changes.note(host.id)

    def remove(self, host_id: int) -> None:
        """Take a host off, if it is there."""
        known = self._hosts.pop(host_id, None)
        if known is not None:
            if self._ids.get(known.host) == host_id:  # and not another one's by now
                del self._ids[known.host]
            self._changes.note(host_id)

    def consume(self, host: HostState) -> None:
        """Count one more case on a host."""
        host.active += 1
        self._room_changes.note(host.id)

    def release(self, host: HostState) -> None:
        """Count one case fewer on a host."""
        host.active -= 1
        self._room_changes.note(host.id)

    def count(self, host: HostState, more: int) -> None:
        """Count so many cases more on a host, or fewer; there are never less than none."""
        host.active = max(0, host.active + more)
        self._room_changes.note(host.id)

    def where(self, key: Hashable, holds: Predicate, *, follows_room: bool = False) -> Ids:
        """Return the ids of the hosts of which something holds; the set is for reading only.

        What is asked for the first time is found out host by host, for it may be never asked again.

        :param key: says what holds; the same key goes with the same question always
        :param follows_room: the answer depends on how many cases a host has
        """
        members = self._sets.get(key)
        if members is None:
            logs = (self._changes, self._room_changes) if follows_room else (self._changes,)
            self._sets[key] = Members(holds, logs)
            self._forget()
            return Unread(holds, self._hosts)
        self._sets.move_to_end(key)
        self._kept -= len(members)
        ids = members.refreshed(self._hosts)
        self._kept += len(members)
        self._forget()
        return ids

    def all_where(self, key: Hashable, holds: Predicate) -> Set[int]:
        """Return the ids as :meth:`where` does, all of them from the first time on."""
        found = self.where(key, holds)
        if isinstance(found, Unread):
            return {host_id for host_id in self._hosts if host_id in found}
        return found

    def meeting(self, requirement: Requirement) -> Set[int]:
        """Return the ids of the hosts that fulfil a sentence, however new; for reading only.

        What hosts say under its key is read when the key is asked for the first time.
        """
        key = requirement.key
        values = self._values.get(key)
        if values is None:
            values = Values(key, (self._changes,))
            if not self.vocabulary.knows(key):  # then there is nothing to read
                return values.meeting(requirement, self._hosts)
            self._values[key] = values
            if len(self._values) > KEPT_KEYS:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        values.refresh(self._hosts)
        return values.meeting(requirement, self._hosts)

    def by_weight(self, weight: Weight) -> Order:
        """Return the hosts in the order of their weights; that of the last weight is kept."""
        if self._order is None or self._order.weight != weight:
            self._order = Order(weight, (self._changes, self._room_changes))
        self._order.refresh(self._hosts)
        return self._order

    def _forget(self) -> None:
        """Forget the sets that were asked for least lately, if there are too many."""
        while len(self._sets) > KEPT or (self._kept > KEPT_IDS and len(self._sets) > 1):
            _, oldest = self._sets.popitem(last=False)
            self._kept -= len(oldest)
