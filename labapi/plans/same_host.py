"""``same_host_as: "1/Serial-Step-1/2"``: which entries share a host, and whether they can."""

from __future__ import annotations

import graphlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from labapi.exceptions import InvalidInput
from labapi.plans.entry import Entry
from labapi.plans.problems import Problems, shown

ROOT = "testplan"


def link(
    references: Sequence[tuple[Entry, Sequence[str]]],
    numbers: Mapping[str, Sequence[int]],
    turns: Mapping[int, int],
    problems: Problems,
) -> None:
    """Put the numbers of the entries on whose host they run into the rules of entries.

    :param references: entries, and what each names
    :param numbers: of all entries, by their paths
    :param turns: in which each of them runs
    """
    linked = []
    for entry, named in references:
        try:
            found = tuple(_number(entry, name, numbers, turns) for name in named)
        except InvalidInput as error:
            problems.add(f"{entry.path}/same_host_as", error)
        else:
            entry.rules = msgspec.structs.replace(entry.rules, same_host_as=found)
            linked.append(entry)
    for circle in _circles(linked, turns):
        names = [entry.path.removeprefix(f"{ROOT}/") for entry in circle]
        problems.add(f"{circle[0].path}/same_host_as", f"a circle: {' → '.join(names)}")


def _number(
    entry: Entry, name: str, numbers: Mapping[str, Sequence[int]], turns: Mapping[int, int]
) -> int:
    found = numbers.get(f"{ROOT}/{name}")
    if not found:
        raise InvalidInput(
            f"there is no entry {shown(name)}; expected one such as '1/Serial-Step-1/2'"
        )
    if len(found) > 1:
        raise InvalidInput(f"{shown(name)} becomes {len(found)} entries; name one of them")
    if turns[found[0]] > entry.turn:
        raise InvalidInput(f"{shown(name)} runs later")
    return found[0]


def _circles(linked: Sequence[Entry], turns: Mapping[int, int]) -> Iterator[Sequence[Entry]]:
    """Return a circle of each turn that has one; nothing refers to what comes later."""
    together: dict[int, dict[int, Entry]] = defaultdict(dict)
    for entry in linked:
        together[entry.turn][entry.number] = entry
    for turn, entries in together.items():
        graph = {
            number: [other for other in entry.rules.same_host_as if turns[other] == turn]
            for number, entry in entries.items()
        }
        try:
            graphlib.TopologicalSorter(graph).prepare()
        except graphlib.CycleError as error:
            yield [entries[number] for number in reversed(error.args[1])]
