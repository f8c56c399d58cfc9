from __future__ import annotations

import datetime

import pytest

from labapi import config
from labapi.conductor.hearing import MOST, Hearing

NOW = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)
RETURN = 25  # retry_interval_max, AGENTS_RETURN


def at(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


class Ear:
    """Hearing with a hand on its line."""

    def __init__(self) -> None:
        self.line = 1
        conf = config.new()
        conf([], project="labapi", default_config_files=[])
        self.hearing = Hearing(conf, lambda: self.line)

    def listen(self, start: int, end: int) -> None:
        for second in range(start, end + 1, 2):
            self.hearing.listen(at(second))

    def heard(self, start: float, end: float) -> float:
        return self.hearing.heard_for(at(start), at(end))


@pytest.fixture
def ear() -> Ear:
    return Ear()


def test_nothing_is_heard_before_it_begins_and_while_agents_come_back(ear: Ear) -> None:
    assert ear.heard(-100, 0) == 0
    ear.listen(0, 100)
    assert ear.heard(-100, 100) == 100 - RETURN
    assert ear.heard(50, 60) == 10


def test_a_pause_is_not_heard(ear: Ear) -> None:
    ear.listen(0, 100)
    ear.listen(400, 500)
    assert ear.heard(50, 500) == 50 + 100 - RETURN


def test_threads_that_overtake_one_another_are_no_pause(ear: Ear) -> None:
    ear.listen(0, 100)
    for second in (102.0, 101.5, 104.0, 103.0):
        ear.hearing.listen(at(second))
    assert ear.heard(50, 104) == 54


def test_a_line_that_was_lost_may_have_been_dead_before(ear: Ear) -> None:
    ear.listen(0, 200)
    ear.line = 2
    ear.listen(202, 300)
    doubt = 20  # two heartbeats of the connection
    assert ear.heard(100, 300) == 100 - doubt + 100 - 2 - RETURN


def test_so_many_breaks_make_a_verdict_late_and_never_early(ear: Ear) -> None:
    for number in range(2 * MOST):
        ear.listen(100 * number, 100 * number + 60)
    end = 100 * 2 * MOST
    assert ear.heard(0, end) <= 2 * MOST * (60 - RETURN)
    assert ear.heard(end - 1000, end) == pytest.approx(10 * (60 - RETURN), abs=60)
    assert len(ear.hearing._deaf) <= MOST
