"""The hosts by what they say of themselves under one key, so that any sentence is a look-up."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence, Set
from operator import itemgetter
from typing import Any

from sortedcontainers import SortedList

from labapi.scheduler.host_state import HostState
from labapi.scheduler.kept import Changes, Follower
from labapi.scheduler.requirements import (
    LIMITS,
    MISSING,
    Requirement,
    is_number,
    number_of,
    value_of,
)

HOLDS = (None, True)  # the term of what a key without an operator accepts
NUMBER, TEXT = 0, 1  # what a number was read from
# All numbers are sorted anew if those of one host of so many have changed.
MANY = 16

_Number = tuple[float, int, int]  # the number, what it was read from, the id of the host


class Values(Follower):
    """What each host says under one key.

    It answers as :meth:`Requirement.met_by` does, without asking it about each host. What changes
    with every heartbeat costs nothing until the key is asked for.

    :param logs: tell which hosts have changed
    """

    def __init__(self, key: str, logs: Sequence[Changes]) -> None:
        super().__init__(logs)
        self._bare = Requirement(key, key)
        self._said: dict[int, Any] = {}
        self._ids: dict[Hashable, set[int]] = {}  # by term
        self._numbers = SortedList()  # of all hosts
        self._several: set[int] = set()  # the ids of hosts with several numbers

    def refresh(self, hosts: dict[int, HostState]) -> None:
        """Put right what the hosts that have changed say."""
        changed: Collection[int] | None = self.changed()
        if changed is None:
            changed = self._said.keys() | hosts.keys()
        old: list[_Number] = []
        new: list[_Number] = []
        for host_id in changed:
            host, known = hosts.get(host_id), self._said.get(host_id, MISSING)
            value = MISSING if host is None else value_of(host, self._bare.key)
            if not _is_same(value, known):
                old += self._forget(host_id, known)
                new += self._note(host_id, value)
        self._sort(old, new)
        self.is_right()

    def meeting(self, requirement: Requirement, hosts: dict[int, HostState]) -> Set[int]:
        """Return the ids of the hosts that fulfil a sentence about this key.

        :param hosts: all, as they were put right last
        """
        found = self._holding(requirement)
        return _Others(found, hosts.keys()) if requirement.negated else found

    def _holding(self, requirement: Requirement) -> Set[int]:
        if not requirement.comparison:
            return self._ids.get(HOLDS, set())
        if requirement.comparison in LIMITS:
            found = self._beyond(requirement)
            return set(found) if self._several else found
        parts = [ids for ids in self._equal(requirement) if ids]
        return parts[0] if len(parts) == 1 else set().union(*parts)

    def _beyond(self, requirement: Requirement) -> Set[int]:
        """Return the ids of numbers beyond a limit; a host with several is there several times."""
        limit, comparison = float(requirement.values[0]), requirement.comparison
        before, behind = (limit,), (limit, TEXT + 1)
        if comparison[0] == ">":
            return self._slice(requirement, before if comparison == ">=" else behind, None)
        return self._slice(requirement, None, behind if comparison == "<=" else before)

    def _equal(self, requirement: Requirement) -> Iterator[Set[int]]:
        """Go through the ids of what is equal to one of the values."""
        for wanted in requirement.values:
            yield self._ids.get((str, wanted), set())
            yield self._ids.get((bool, wanted.lower()), set())
            if is_number(wanted) is not None:
                number = float(wanted)
                yield self._slice(requirement, (number, NUMBER), (number, TEXT))

    def _slice(
        self,
        requirement: Requirement,
        begin: tuple[float, ...] | None,
        end: tuple[float, ...] | None,
    ) -> Set[int]:
        first = 0 if begin is None else self._numbers.bisect_left(begin)
        last = len(self._numbers) if end is None else self._numbers.bisect_left(end)
        return _Slice(self._numbers, first, last, requirement, self._said)

    def _forget(self, host_id: int, value: Any) -> list[_Number]:
        """Forget what a host said, apart from its numbers, which are returned."""
        if value is MISSING:
            return []
        del self._said[host_id]
        for term in self._terms(value):
            ids = self._ids[term]
            ids.discard(host_id)
            if not ids:
                del self._ids[term]
        self._several.discard(host_id)
        return _numbers(host_id, value)

    def _note(self, host_id: int, value: Any) -> list[_Number]:
        """Take note of what a host says, apart from its numbers, which are returned."""
        if value is MISSING:
            return []
        self._said[host_id] = value.copy() if isinstance(value, list) else value
        for term in self._terms(value):
            self._ids.setdefault(term, set()).add(host_id)
        found = _numbers(host_id, value)
        if len(found) > 1:
            self._several.add(host_id)
        return found

    def _terms(self, value: Any) -> set[Hashable]:
        """Return what a sentence with no number may look for."""
        terms: set[Hashable] = {HOLDS} if self._bare.accepts(value) else set()
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, str):
                terms.add((str, item))
            elif isinstance(item, bool):
                terms.add((bool, str(item).lower()))
        return terms

    def _sort(self, old: list[_Number], new: list[_Number]) -> None:
        if len(old) + len(new) > len(self._numbers) // MANY:
            found = set(self._numbers).difference(old).union(new)
            self._numbers = SortedList(
                sorted(found, key=itemgetter(0))
            )  # most of what there is to do
            return
        for number in old:
            self._numbers.remove(number)
        self._numbers.update(new)


def _is_same(value: Any, known: Any) -> bool:
    # Of lists it is not known: among their items 1 is equal to True.
    return type(value) is type(known) and not isinstance(value, list) and bool(value == known)


def _numbers(host_id: int, value: Any) -> list[_Number]:
    """Return the numbers of a host; what is not a number is neither equal, nor more, nor less."""
    if not isinstance(value, list):
        number = number_of(value)
        if number is None or math.isnan(number):
            return []
        return [(number, TEXT if isinstance(value, str) else NUMBER, host_id)]
    return list(
        {one for item in value for one in _numbers(host_id, item) if not isinstance(item, list)}
    )


class _Lazy(Set[int]):
    """Ids that are counted and looked for without a set of them being made."""

    @classmethod
    def _from_iterable(cls, ids: Iterable[Any]) -> Set[Any]:
        return set(ids)


class _Slice(_Lazy):
    """The ids of hosts with a number that stands in a part of a sorted list."""

    def __init__(
        self,
        numbers: SortedList,
        begin: int,
        end: int,
        requirement: Requirement,
        said: dict[int, Any],
    ) -> None:
        self._numbers, self._begin, self._end = numbers, begin, end
        self._requirement, self._said = requirement, said

    def __contains__(self, host_id: object) -> bool:
        value = self._said.get(host_id, MISSING)  # type: ignore[call-overload]
        return value is not MISSING and self._requirement.accepts(value)

    def __iter__(self) -> Iterator[int]:
        return (one for *_, one in self._numbers.islice(self._begin, self._end))

    def __len__(self) -> int:
        return max(0, self._end - self._begin)


class _Others(_Lazy):
    """All ids but some."""

    def __init__(self, some: Set[int], every: Set[int]) -> None:
        self._some, self._every = some, every

    def __contains__(self, host_id: object) -> bool:
        return host_id in self._every and host_id not in self._some

    def __iter__(self) -> Iterator[int]:
        return (host_id for host_id in self._every if host_id not in self._some)

    def __len__(self) -> int:
        return len(self._every) - len(self._some)
