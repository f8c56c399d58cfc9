from __future__ import annotations

import threading

from labapi import config
from labapi.api.backend.waiters import Waiters
from labapi.rpc.messages import CaseChanged, Change
from labapi.rpc.transport import Transport


def waiters() -> Waiters:
    conf = config.new()
    conf([], project="labapi", default_config_files=[])
    return Waiters(Transport(conf))


def test_an_end_between_listening_and_waiting_is_not_missed() -> None:
    lab = waiters()
    looks = []
    with lab.listening("case-1") as ended, lab.listening("case-2") as other:
        lab._wake([CaseChanged(case="case-1", state="finished", result="PASS")])
        assert not other.is_set()
        assert lab.wait_for(ended, 3600, lambda: looks.append(1) or "PASS") == "PASS"
    assert looks == [1]


def test_ends_that_are_told_together_wake_everybody() -> None:
    lab = waiters()
    with lab.listening("case-1") as one, lab.listening("case-2") as two:
        more = [Change(case="case-2"), Change(case="case-3")]
        lab._wake([CaseChanged(case="case-1", state="finished", more=more)])
        assert one.is_set()
        assert two.is_set()


def test_who_stops_lets_everybody_go() -> None:
    lab = waiters()
    with lab.listening("case-1") as ended:
        threading.Timer(0.05, lab.let_go).start()
        assert lab.wait_for(ended, 3600, lambda: None) is None
    with lab.listening("case-2") as ended:
        assert ended.is_set()


def test_a_lost_event_is_made_up_for_by_a_look() -> None:
    with waiters().listening("case-1") as ended:
        assert not ended.is_set()
        lab = waiters()
        assert lab.wait_for(ended, 3600, lambda: "FAIL") == "FAIL"
