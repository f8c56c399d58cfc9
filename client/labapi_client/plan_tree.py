"""A test plan as the lab shows it: test cases, their steps, and the entries of these."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from labapi_client.exceptions import BadAnswer

STEPS = ("Parallel-Step-", "Serial-Step-")

# How many of a node's entries have which result, are in which state, or passed on a retry only.
Counts = dict[str, int]


class Entry(msgspec.Struct, kw_only=True):
    """An entry of a plan; ``docs/api.md`` describes the fields.

    :ivar path: test case, step and entry: ``1/Serial-Step-1/2``
    :ivar number: its place in the plan, from 1
    :ivar input: what ran: ``plugin``, ``host``, ``method``, ``parameters`` …
    :ivar output: ``result``, ``log``, the beginning of what it wrote, and ``truncated``
    :ivar case: the id of its case, of the last one if it was tried again
    :ivar tries: how many cases it has had
    :ivar flaky: it passed, but not the first time
    """

    path: str = ""
    number: int = 0
    description: str | None = msgspec.field(default=None, name="DESCRIPTION")
    always: bool = False
    input: dict[str, Any] = {}
    output: dict[str, Any] = {}
    state: str
    case: str | None = None
    reason: str | None = None
    detail: str | None = None
    exit_code: int | None = None
    tries: int = 0
    flaky: bool = False
    started_at: datetime.datetime | None = None
    finished_at: datetime.datetime | None = None

    @property
    def result(self) -> str | None:
        """How it ended; None if it has not, and of one that is skipped."""
        return self.output.get("result")


class Node(msgspec.Struct, kw_only=True):
    """A test case of a plan, or a step.

    :ivar path: ``1`` or ``1/Serial-Step-1``
    :ivar counts: of all its entries, whichever of them are in the answer
    """

    path: str = ""
    description: str | None = msgspec.field(default=None, name="DESCRIPTION")
    state: str
    result: str | None = None
    counts: Counts = {}

    @property
    def is_step(self) -> bool:
        """Whether it is a step."""
        return "/" in self.path


class Plan(msgspec.Struct, kw_only=True):
    """A plan as it was when the lab was asked; ``docs/api.md`` describes the fields.

    :ivar result: the worst of its entries; None until it is finished
    :ivar notices: whom it tells of its end, and whether that is done; empty in lists
    :ivar testplan: the tree, in the shape of the document; empty in lists
    """

    id: str
    name: str
    state: str
    result: str | None = None
    reason: str | None = None
    detail: str | None = None
    counts: Counts = {}
    rerun_of: str | None = None
    notices: list[dict[str, Any]] = []
    testplan: dict[str, dict[str, Any]] = {}
    project_id: str | None = None
    user_id: str | None = None
    request_id: str | None = None
    created_at: datetime.datetime | None = None
    started_at: datetime.datetime | None = None
    finished_at: datetime.datetime | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing of it runs any more, nor will."""
        return self.state == "finished"

    def nodes(self) -> Iterator[Node]:
        """Yield its test cases, each before its steps."""
        for number, test_case in self.testplan.items():
            yield _converted(test_case, number, Node)
            for name, step in _steps(test_case):
                yield _converted(step, f"{number}/{name}", Node)

    def entries(self) -> Iterator[Entry]:
        """Yield its entries, those that are in the answer, in the order of the document."""
        for number, test_case in self.testplan.items():
            for name, step in _steps(test_case):
                for entry, value in _read(step, f"{number}/{name}", dict).items():
                    if entry[:1].isdigit():
                        yield _converted(value, f"{number}/{name}/{entry}", Entry)


def add_page(tree: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add what the next page has of a tree."""
    for name, value in more.items():
        there = tree.get(name)
        if isinstance(there, dict) and isinstance(value, dict):
            add_page(there, value)
        else:
            tree[name] = value


def _steps(test_case: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, step) for name, step in test_case.items() if name.startswith(STEPS))


def _converted(value: Any, path: str, kind: type[Any]) -> Any:
    found = _read(value, path, kind)
    found.path = path
    return found


def _read(value: Any, path: str, kind: type[Any]) -> Any:
    """Return a part of a tree.

    :raises BadAnswer: it is something else
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadAnswer(f"the plan cannot be read: {path}: {error}") from None
