"""An entry of a test plan, as the grammar makes it and as its row keeps it."""

from __future__ import annotations

from typing import Any

import msgspec

from labapi.case import Result

# The state of an entry that never runs; the others are a case's.
SKIPPED = "skipped"


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a case runs again.

    :ivar on: results after which it does
    :ivar attempts: how often it runs at most, the first time included
    """

    on: tuple[Result, ...] = (Result.ERROR,)
    attempts: int = 2


class Rules(msgspec.Struct, frozen=True, omit_defaults=True):
    """What holds for an entry beyond the columns of its case; ``plan_entries.rules``.

    :ivar retry: None: it runs once
    :ivar continue_on: results other than PASS after which its step goes on
    :ivar register: the name under which what it returns is kept
    :ivar uses: names that must be registered before it can begin
    :ivar same_host_as: numbers of the entries on whose host it runs
    """

    retry: Retry | None = None
    continue_on: tuple[Result, ...] = ()
    register: str | None = None
    uses: tuple[str, ...] = ()
    same_host_as: tuple[int, ...] = ()

    def runs_again(self, result: str, tries: int) -> bool:
        """Say whether another case is made after one with this result.

        :param tries: how many cases there were
        """
        return self.retry is not None and result in self.retry.on and tries < self.retry.attempts

    def breaks(self, result: str) -> bool:
        """Say whether its step ends with a last case that has this result."""
        return result != Result.PASS and result not in self.continue_on


def place(outline: list[dict[str, Any]], test_case: int, step: int, name: str) -> str:
    """Return where an entry stands in its plan: ``1/Serial-Step-1/2``.

    :param outline: that of the plan's row
    """
    within = outline[test_case]
    return f"{within['name']}/{within['steps'][step]['name']}/{name}"


class Entry(msgspec.Struct, kw_only=True):
    """An entry, once matrices and lists of hosts are spread and parameters are put in.

    :ivar path: where it stands in the document, as errors name it: ``testplan/2/Serial-Step-1/1``
    :ivar number: its place in the plan, from 1
    :ivar turn: entries of one turn run at the same time, turns one after another; from 0
    :ivar test_case: its test case, as an index of the outline
    :ivar step: its step, likewise
    :ivar name: what it is called within its step: ``1``, or ``1[STA=a]`` of a matrix
    :ivar body: as the body of ``POST /v2.1/testcases`` has it: ``plugin``, ``method``, ``host`` or
        what is asked of one, ``parameters``, ``timeout`` …
    """

    path: str
    number: int
    turn: int
    test_case: int
    step: int
    name: str
    description: str | None = None
    always: bool = False
    body: dict[str, Any]
    rules: Rules = Rules()
