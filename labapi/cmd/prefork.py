"""A parent that keeps worker processes running."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from oslo_log import log

from labapi.cmd import program

LOG = log.getLogger(__name__)

# A worker that ends sooner than this after its start is started again after a pause.
HEALTHY = 5.0
_WATCHED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}


def run(
    workers: int, work: Callable[[], None], stop_timeout: float, may_reload: Callable[[], bool]
) -> None:
    """Fork workers, start those anew that die, and return after SIGTERM or SIGINT.

    :param work: what a worker does; it ends upon SIGTERM. It is begun with SIGHUP blocked, and
        lets it in once it can reload: one that comes before is not lost and does not end it
    :param stop_timeout: seconds that workers have to end
    :param may_reload: asked upon SIGHUP whether workers are to be told
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    terminal_gone = program.watch_terminal()
    alive: dict[int, float] = {}
    try:
        while True:
            while len(alive) < workers:
                alive[_fork(work)] = time.monotonic()
            number = signal.sigwait(_WATCHED)
            if number in (signal.SIGTERM, signal.SIGINT):
                return
            if number == signal.SIGHUP:
                if terminal_gone():
                    return
                if may_reload():
                    _send(alive, signal.SIGHUP)
            _bury(alive)
    finally:
        _stop(alive, stop_timeout)


def _fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        # Ctrl-C reaches the whole process group; the parent passes on what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED - {signal.SIGHUP})
        work()
        status = 0
    except BaseException:  # a worker never returns into the parent's code
        LOG.exception("a worker failed")
    finally:
        sys.stdout.flush()
        os._exit(status)


def _bury(alive: dict[int, float]) -> None:
    """Collect workers that ended; pause if one did so right after its start."""
    hasty = False
    for pid in _ended(alive):
        LOG.error("worker %d ended; another takes its place", pid)
        hasty = hasty or time.monotonic() - alive[pid] < HEALTHY
        del alive[pid]
    if hasty:
        signal.sigtimedwait({signal.SIGCHLD}, 1.0)


def _ended(alive: dict[int, float]) -> list[int]:
    return [pid for pid in alive if os.waitpid(pid, os.WNOHANG)[0] == pid]


def _send(alive: dict[int, float], number: signal.Signals) -> None:
    for pid in alive:
        os.kill(pid, number)


def _stop(alive: dict[int, float], timeout: float) -> None:
    _send(alive, signal.SIGTERM)
    # Beyond the time that workers give their requests, they need a moment for their connections.
    deadline = time.monotonic() + timeout + 5.0
    while alive and (left := deadline - time.monotonic()) > 0:
        for pid in _ended(alive):
            del alive[pid]
        if alive:
            signal.sigtimedwait({signal.SIGCHLD}, min(left, 0.5))
    _send(alive, signal.SIGKILL)
    for pid in alive:
        os.waitpid(pid, 0)
