"""Looking at a plan until it is finished, at a rate that costs the lab little.

A look asks for the counts and for what runs, never for the whole tree; entries that did not pass
are asked for when their count has grown.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labapi_client.exceptions import ConnectionFailed, TimedOut, Unavailable
from labapi_client.following import PATIENCE, wanted_pause
from labapi_client.plan_tree import Entry, Plan

if TYPE_CHECKING:
    from labapi_client.managers.plans import Plans

SHORTEST, LONGEST = 0.5, 5.0  # seconds between looks
SLOWER = 1.5  # times as long until the next look if nothing has changed
SHARE = 10  # times as long as a look took is there no other
NOT_PASSED = ("FAIL", "ERROR", "TIMEOUT", "CANCELLED")


@dataclass(frozen=True, slots=True)
class Look:
    """A plan at one time.

    :ivar plan: of its entries it has those that run
    :ivar ended: entries that ended otherwise than PASS since the look before
    """

    plan: Plan
    ended: list[Entry] = field(default_factory=list)


def looks(
    plans: Plans, plan: str, timeout: float | None = None, *, entries: bool = True
) -> Iterator[Look]:
    """Yield a plan as it is now, and each time that something has changed until it is finished.

    :param timeout: seconds after which it is not looked at any more
    :param entries: with those that run, and those that did not pass
    :raises TimedOut: they are over
    :raises ConnectionFailed: the lab was away for longer than ``PATIENCE``
    """
    until = None if timeout is None else time.monotonic() + timeout
    heard, pause = time.monotonic(), SHORTEST
    known: dict[str, set[str]] = {result: set() for result in NOT_PASSED}
    before: Plan | None = None
    while True:
        begun = time.monotonic()
        try:
            found = plans.get(plan, output=False, state="running") if entries else plans.brief(plan)
            ended = _ended(plans, found, known) if entries else []
        except (ConnectionFailed, Unavailable) as error:
            pause = max(pause, wanted_pause(error))
            if time.monotonic() + pause - heard > PATIENCE:
                raise
        else:
            heard = time.monotonic()
            changed = before is None or found != before
            before = found
            if changed:
                yield Look(found, ended)
            if found.finished:
                return
            pause = SHORTEST if changed else min(pause * SLOWER, LONGEST)
            pause = max(pause, SHARE * (heard - begun))
        _sleep(pause, until)


def _ended(plans: Plans, plan: Plan, known: dict[str, set[str]]) -> list[Entry]:
    """Return the entries that did not pass and are not known yet."""
    found = []
    for result, paths in known.items():
        if plan.counts.get(result, 0) <= len(paths):
            continue
        for entry in plans.entries(plan.id, result=result, output=False):
            if entry.path not in paths:
                paths.add(entry.path)
                found.append(entry)
    return found


def _sleep(pause: float, until: float | None) -> None:
    if until is not None:
        left = until - time.monotonic()
        if left <= 0:
            raise TimedOut("the plan is not finished in the time that it was given")
        pause = min(pause, left)
    time.sleep(pause)
