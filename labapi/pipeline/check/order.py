"""Check that filters stand where they can do their work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from labapi.pipeline.check import foreign
from labapi.pipeline.check.factory import FILTER
from labapi.pipeline.check.finding import Finding, Place
from labapi.pipeline.check.parts import Part
from labapi.pipeline.contract import CLIENT, CONTEXT, IDENTITY

_WHO = {
    IDENTITY: "an authentication (noauth, basic or keystone)",
    CONTEXT: "the filter context",
    CLIENT: "the filter proxy",
}
_UNKNOWN = "; or is it {others}, of which nothing is known here?"


def check(chain: Sequence[Part]) -> Iterator[Finding]:
    """Return mistakes in the order of the parts that a request passes.

    :param chain: filters, outermost first, and the application
    """
    yield from _twice(chain)
    gives = [foreign.gives(part) if part.kind == FILTER else "" for part in chain]
    for position, part in enumerate(chain):
        for need in needs(part):
            if need.what in gives[:position]:
                continue
            place = part.place_of(need.option) if need.option else part.shown_at
            behind = gives.index(need.what) if need.what in gives else 0
            if behind:
                yield _misplaced(place, part, need, chain[behind])
            elif need.required:
                yield from _missing(place, part, need, chain, gives[:position])


def needs(part: Part) -> Sequence[Any]:
    """Return what a part needs from filters to its left."""
    ask = part.told("needs")
    if ask is None:
        return ()
    given, local = part.texts()
    try:
        found: Sequence[Any] = tuple(ask(given, **local))
    except Exception:  # noqa: BLE001 - its options are wrong, which is a finding of its own
        return ()
    return found


def _misplaced(place: Place, part: Part, need: Any, giver: Part) -> Finding:
    if not need.required:
        problem = f"'{part.name}' sees the addresses of proxies, because '{giver.name}' stands to"
        return Finding(place, f"{problem} its right; move '{giver.name}' to its left", fatal=False)
    why = "this option" if need.option else f"'{part.name}'"
    problem = f"{why} needs '{giver.name}' to the left of '{part.name}', and it stands to its right"
    return Finding(place, problem)


def _missing(
    place: Place, part: Part, need: Any, chain: Sequence[Part], gives: Sequence[str | None]
) -> Iterator[Finding]:
    left = chain[: len(gives)]
    if any(other.factory is None for other in left):
        return  # one that cannot be found may be the one; that it is missing is said already
    why = "this option" if need.option else f"'{part.name}'"
    problem = f"{why} needs {_WHO.get(need.what, need.what)} to the left of '{part.name}'"
    others = [other.name for other, what in zip(left, gives, strict=True) if what is None]
    if others:
        problem += _UNKNOWN.format(others=" or ".join(f"'{name}'" for name in others))
    yield Finding(place, problem, fatal=not others)


def _twice(chain: Sequence[Part]) -> Iterator[Finding]:
    for position, part in enumerate(chain):
        if part.factory is None:
            continue
        for earlier in chain[:position]:
            problem = _clash(earlier, part)
            if problem:
                certain = part.told("gives") is not None or foreign.gives(part) == IDENTITY
                yield Finding(part.shown_at, problem, fatal=certain)
                break


def _clash(earlier: Part, part: Part) -> str | None:
    """Return why two filters do not go together, None if they do."""
    if earlier.factory is None or part.factory is None or part.kind != FILTER:
        return None
    if foreign.gives(part) == foreign.gives(earlier) == IDENTITY:
        return f"'{earlier.name}' and '{part.name}' are both authentications; one is enough"
    if earlier.place == part.place:
        return f"'{part.name}' stands here twice"
    if earlier.factory.call is part.factory.call and part.told("repeatable") is False:
        return f"'{part.name}' does the same as '{earlier.name}' once more"
    return None
