"""Signals are heard, whichever thread the kernel gives them to."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from labapi.cmd import program


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put back the handlers that a program sets."""
    numbers = (*program.STOP_SIGNALS, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def give_another_thread(number: signal.Signals) -> None:
    """Have a thread that isn't the main one get a signal, and stay, as one of a pool does."""

    def get() -> None:
        time.sleep(0.3)
        signal.pthread_kill(threading.get_ident(), number)
        threading.Event().wait(60)

    threading.Thread(target=get, daemon=True).start()


@pytest.mark.usefixtures("handlers")
def test_a_stop_that_another_thread_gets() -> None:
    stop = program.stop_requested()
    give_another_thread(signal.SIGTERM)
    ended = threading.Timer(30.0, stop.set)  # else it would wait for ever
    ended.start()
    before = time.monotonic()
    assert stop.wait()
    assert time.monotonic() - before < 20
    ended.cancel()


@pytest.mark.usefixtures("handlers")
def test_a_reload_that_another_thread_gets() -> None:
    stop = program.stop_requested()
    program.reload_requested(stop.set, stop)
    give_another_thread(signal.SIGHUP)
    assert stop.wait(20)


def test_a_wait_that_is_in_vain() -> None:
    before = time.monotonic()
    assert not program.Stop().wait(0.7)
    assert 0.7 <= time.monotonic() - before < 20
    assert not program.Stop().wait(0)
