"""Watching a plan until it is finished: a tree on a terminal, lines where there is none."""

from __future__ import annotations

import datetime
import queue
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from labapi_client.cli.interrupts import Interrupts, Source
from labapi_client.cli.outcome import counted, entry_sentence
from labapi_client.cli.terminal import Block
from labapi_client.exceptions import TimedOut

if TYPE_CHECKING:
    from labapi_client.lab import Lab
    from labapi_client.plan_tree import Entry, Node, Plan
    from labapi_client.polling import Look

TICK = 0.25  # seconds between looks at the clock
MOST_AT_END = 200  # lines of a tree that are left on the screen


class Line(NamedTuple):
    """A line of a tree.

    :ivar rank: the larger, the sooner it is left out where there is no room
    """

    text: str
    rank: int


class PlanWatch:
    """Shows a plan until it is finished.

    :param command: on whose streams
    :param longest: seconds after which the plan is left to itself, None for no end
    """

    def __init__(self, command: Any, *, longest: float | None = None) -> None:
        self._lab: Lab = command.lab
        self._command = command
        quiet = bool(getattr(command.app.options, "quiet", False))
        self._block = Block(command.app.stderr, on=not quiet)
        self._longest = longest
        self._told: dict[str, tuple[str, str | None]] = {}
        self._plan: Plan | None = None

    def until_finished(self, plan: Plan) -> Plan:
        """Return a plan as it is at its end.

        :raises Left: the user does not want to wait any more
        :raises TimedOut: it took longer than it may
        """
        source = Source(self._lab.plans.looks(plan.id, self._longest))
        source.start()
        cancel = partial(self._lab.plans.cancel, plan.id)
        clear = self._block.clear
        try:
            with Interrupts(self._command, f"plan {plan.id}", cancel, clear) as interrupts:
                return self._watch(source, interrupts) or plan
        except TimedOut:
            raise TimedOut(f"plan {plan.id} is not finished yet; it goes on") from None
        finally:
            self._leave()

    def _watch(self, source: Source[Look], interrupts: Interrupts) -> Plan | None:
        while True:
            try:
                interrupts.raise_pressed()
                look = self._next(source)
                if look is None:
                    return self._plan
                with interrupts.later():
                    self._take(look)
            except KeyboardInterrupt:
                interrupts.ask()

    def _next(self, source: Source[Look]) -> Look | None:
        """Return the next look, None at the end."""
        while True:
            try:
                look = source.pieces.get(timeout=TICK)
            except queue.Empty:
                self._draw()
                continue
            if isinstance(look, Exception):
                raise look
            return look

    def _take(self, look: Look) -> None:
        self._plan = look.plan
        if look.ended:
            self._block.clear()
        for entry in look.ended:
            self._command.say(entry_sentence(entry))
        if not self._block.on:
            self._tell(look.plan)
        self._draw()

    def _tell(self, plan: Plan) -> None:
        """Say which test cases and steps have begun, and how they ended."""
        for node in plan.nodes():
            now = (node.state, node.result)
            if now != self._told.get(node.path, ("queued", None)):
                self._told[node.path] = now
                self._command.say(_of_node(node, node.path))

    def _draw(self) -> None:
        if self._block.on and self._plan is not None:
            self._block.show(fitting(tree(self._plan), self._block.room))

    def _leave(self) -> None:
        """Leave the tree where it is, as it was seen last."""
        if self._block.on and self._plan is not None and self._plan.finished:
            self._block.show(fitting(tree(self._plan), MOST_AT_END))
        else:
            self._block.clear()


def tree(plan: Plan) -> list[Line]:
    """Return a plan as lines: its test cases, their steps, and the entries that run."""
    running: dict[str, list[Entry]] = {}
    for entry in plan.entries():
        if entry.state == "running":
            running.setdefault(entry.path.rpartition("/")[0], []).append(entry)
    elapsed = _elapsed(plan.started_at, plan.finished_at)
    lines = [Line(f"{plan.name}: {_word(plan)}{elapsed} ({counted(plan.counts)})", 0)]
    lines += _lines(plan, running)
    return lines


def _lines(plan: Plan, running: dict[str, list[Entry]]) -> Iterator[Line]:
    for node in plan.nodes():
        telling = node.state in ("running", "cancelling") or node.result not in (None, "PASS")
        rank = 1 if telling else 3 + node.is_step
        yield Line(f"{'    ' if node.is_step else '  '}{_of_node(node, _last(node.path))}", rank)
        for entry in running.get(node.path, ()):
            given = entry.input
            what = f"{given.get('plugin')}.{given.get('method')}"
            where = f" on {given['host']}" if given.get("host") else ""
            elapsed = _elapsed(entry.started_at, None) or ", waits"
            yield Line(f"      {_last(entry.path)}: {what}{where}{elapsed}", 2)


def fitting(lines: Sequence[Line], room: int) -> list[str]:
    """Return as many lines as there is room for, the most telling ones, in their order."""
    if len(lines) <= room:
        return [line.text for line in lines]
    best = sorted(range(len(lines)), key=lambda at: lines[at].rank)[: room - 1]
    return [lines[at].text for at in sorted(best)] + [f"  … {len(lines) - len(best)} lines more"]


def _of_node(node: Node, name: str) -> str:
    about = f" {node.description}" if node.description else ""
    return f"{name}: {_word(node)} ({counted(node.counts)}){about}"


def _word(thing: Node | Plan) -> str:
    """Return the result of what has one, else its state."""
    return thing.result if thing.state == "finished" and thing.result else thing.state


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _elapsed(begin: datetime.datetime | None, end: datetime.datetime | None) -> str:
    if begin is None:
        return ""
    until = time.time() if end is None else end.timestamp()
    return f", {max(0.0, until - begin.timestamp()):.0f} s"
