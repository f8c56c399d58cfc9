"""A parent that keeps worker processes running."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable

from oslo_log import log

from labapi.cmd import program

LOG = log.getLogger(__name__)

# A worker that ends sooner than this after its start failed to start.
HEALTHY = 5.0
# Seconds before the next start after one that failed, and after many.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
PR_SET_PDEATHSIG = 1  # prctl(2)
_WATCHED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}


def run(
    workers: int,
    work: Callable[[], None],
    stop_timeout: float,
    may_reload: Callable[[], bool],
    stopping: Callable[[], None] = lambda: None,
) -> None:
    """Fork workers, replace those that die, and return after SIGTERM or SIGINT.

    These may have come since :func:`hold_signals`.

    :param work: what a worker does; it ends upon SIGTERM, which also comes when this process dies.
        It is begun with SIGHUP blocked, and lets it in once it can reload: one that comes before
        is not lost and does not end it
    :param stop_timeout: seconds that workers have to end
    :param may_reload: asked upon SIGHUP whether workers are to be told
    :param stopping: called before the workers are told to end
    """
    hold_signals()
    terminal_gone = program.watch_terminal()
    team = _Team(workers, work)
    try:
        while True:
            number = team.watch()
            if number in (signal.SIGTERM, signal.SIGINT):
                return
            if number == signal.SIGHUP:
                if terminal_gone():
                    return
                if may_reload():
                    team.send(signal.SIGHUP)
    finally:
        stopping()
        team.stop(stop_timeout)


def hold_signals() -> None:
    """Let the signals that :func:`run` answers wait for it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)


class _Team:
    """The workers that are alive."""

    def __init__(self, size: int, work: Callable[[], None]) -> None:
        self._size = size
        self._work = work
        self._started: dict[int, float] = {}
        self._pause = 0.0
        self._not_before = 0.0

    def watch(self) -> int | None:
        """Start the workers that are missing; return the next signal, or None to be called again.

        After a start that failed the next one waits, longer each time.
        """
        self._bury()
        waits = self._not_before - time.monotonic()
        if waits <= 0:
            self._fill()
            return signal.sigwait(_WATCHED)
        got = signal.sigtimedwait(_WATCHED, waits)
        return got.si_signo if got else None

    def _fill(self) -> None:
        while len(self._started) < self._size:
            self._started[_fork(self._work)] = time.monotonic()

    def _bury(self) -> None:
        now = time.monotonic()
        failed = False
        for pid in self._ended():
            LOG.error("worker %d ended; another takes its place", pid)
            failed = failed or now - self._started[pid] < HEALTHY
            del self._started[pid]
        if failed and now >= self._not_before:
            # A start after a pause that went well is forgotten only when it has proved healthy.
            self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
            self._not_before = now + self._pause
            LOG.warning("a worker failed right after its start; the next in %g s", self._pause)
        elif now - self._not_before > HEALTHY:
            self._pause = 0.0

    def _ended(self) -> list[int]:
        return [pid for pid in self._started if os.waitpid(pid, os.WNOHANG)[0] == pid]

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all."""
        for pid in self._started:
            os.kill(pid, number)

    def stop(self, timeout: float) -> None:
        """Have all workers end; being asked to stop once more is passed on, for they may hurry."""
        self.send(signal.SIGTERM)
        # Beyond the time that workers give their requests, they need a moment for connections.
        deadline = time.monotonic() + timeout + 5.0
        while self._started and (left := deadline - time.monotonic()) > 0:
            for pid in self._ended():
                del self._started[pid]
            if self._started:
                got = signal.sigtimedwait(_WATCHED - {signal.SIGHUP}, min(left, 0.5))
                if got is not None and got.si_signo != signal.SIGCHLD:
                    self.send(signal.SIGTERM)
        self.send(signal.SIGKILL)
        for pid in self._started:
            os.waitpid(pid, 0)


def _fork(work: Callable[[], None]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        # Ctrl-C reaches the whole process group; the parent passes on what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _end_with(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED - {signal.SIGHUP})
        work()
        status = 0
    except BaseException:  # a worker never returns into the parent's code
        LOG.exception("a worker failed")
    finally:
        sys.stdout.flush()
        os._exit(status)


def _end_with(parent: int) -> None:
    """Have this process get SIGTERM when its parent ends, however that ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl: {os.strerror(number)}")
    if os.getppid() != parent:  # it ended before the call
        os.kill(os.getpid(), signal.SIGTERM)
