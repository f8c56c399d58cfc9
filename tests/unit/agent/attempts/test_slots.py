from __future__ import annotations

import threading

from labapi.agent.attempts.attempt import Attempt
from labapi.agent.attempts.slots import Slots
from labapi.rpc.messages import RunCase
from tests.lab import until


def attempt(name: str, rank: int = 0) -> Attempt:
    command = RunCase(
        case=f"case-{name}",
        attempt=name,
        host="lab-1",
        plugin="p",
        method="m",
        parameters={},
        timeout=1.0,
        rank=rank,
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
