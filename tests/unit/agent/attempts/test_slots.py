from __future__ import annotations

import threading

from labapi.agent.attempts.attempt import Attempt
from labapi.agent.attempts.slots import Slots
from labapi.rpc.messages import RunCase
from tests.lab import until


def attempt(name: str, rank: int = 0, patience: float | None = None) -> Attempt:
    command = RunCase(
        case=f"case-{name}",
        attempt=name,
        host="lab-1",
        plugin="p",
        method="m",
        parameters={},
        timeout=1.0,
        rank=rank,
        patience=patience,
        request_id="req-1",
    )
    return Attempt(command, max_output=100)


def test_those_that_wait_begin_by_rank_then_by_age() -> None:
    ran: list[str] = []
    gate = threading.Event()

    def run(one: Attempt) -> None:
        gate.wait(60)
        ran.append(one.id)

    slots = Slots(1, run)
    slots.submit(attempt("first"))
    until(lambda: slots.counts().running == 1, 60)
    for name, rank in (("slow", 5), ("b", 0), ("urgent", -5), ("c", 0)):
        slots.submit(attempt(name, rank))
    gate.set()
    until(lambda: len(ran) == 5, 60)
    assert ran == ["first", "urgent", "b", "c", "slow"]
    slots.shut()


def test_nobody_waits_here_for_ever_however_urgent_the_others_are() -> None:
    ran: list[str] = []
    gate = threading.Event()

    def run(one: Attempt) -> None:
        gate.wait(60)
        ran.append(one.id)

    slots = Slots(1, run)
    slots.submit(attempt("first"))
    until(lambda: slots.counts().running == 1, 60)
    late, later = attempt("late", 9, patience=5.0), attempt("later", 9, patience=7.0)
    for one in (later, late):
        one.arrived -= 10.0
    for one in (later, late, attempt("patient", 9, patience=60.0), attempt("urgent", -5, 60.0)):
        slots.submit(one)
    gate.set()
    until(lambda: len(ran) == 5, 60)
    assert ran == ["first", "late", "later", "urgent", "patient"]
    slots.shut()
