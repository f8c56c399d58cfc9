"""What all programs share: reading options, one-line errors, a clean stop."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from oslo_config import cfg
from oslo_log import log

from labapi import config, logs
from labapi.exceptions import ConfigError, LabapiError

LOG = log.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
ATTENTION = 0.5  # seconds after which a signal is heard at the latest


def run(
    prog: str, description: str, body: Callable[[cfg.ConfigOpts], None], **defaults: Any
) -> NoReturn:
    """Read the options, run a program and exit.

    :param body: the program; what it raises on purpose becomes one line and exit status 1
    :param defaults: as for :func:`labapi.config.new`
    """
    with errors_in_one_line(prog):
        conf = config.load(sys.argv[1:], prog=prog, description=description, **defaults)
        logs.setup(conf)
        for problem in config.unknown(conf):
            LOG.warning("%s", problem)
        body(conf)
    sys.exit(0)


@contextlib.contextmanager
def errors_in_one_line(prog: str) -> Iterator[None]:
    """Turn expected errors into one line on standard error and exit status 1."""
    try:
        yield
    except (LabapiError, cfg.Error, OSError) as error:
        LOG.debug("%s stops", prog, exc_info=True)
        sys.stderr.write(f"{prog}: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


class Attentive(threading.Event):
    """An event for which the main thread can wait and handle signals meanwhile.

    Python handles all signals in its main thread. One that the kernel gives to another thread
    doesn't end the wait for a lock there, so it would not be handled before that wait is over.
    """

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for ``timeout`` seconds at most; say whether it is."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not super().wait(min(ATTENTION, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                return self.is_set()
        return True


class Stop(Attentive):
    """Is set when the program is to stop.

    :ivar again: is set when it was asked to once more: it is not to wait for anything
    """

    def __init__(self) -> None:
        super().__init__()
        self.again = Attentive()


def stop_requested() -> Stop:
    """Return an event that SIGTERM or SIGINT sets; a second SIGINT ends the program at once."""
    event = Stop()

    def stop(number: int, _frame: object) -> None:
        if event.is_set() and number == signal.SIGINT:
            os._exit(130)
        (event.again if event.is_set() else event).set()

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    return event


def watch_terminal() -> Callable[[], bool]:
    """Return what tells whether the terminal, at which the program was started, is gone.

    SIGHUP asks a service to reload, and tells a program at a terminal that this one was closed.
    """
    had_one = os.isatty(0)
    return lambda: had_one and not os.isatty(0)


def reload_requested(reload: Callable[[], object], stop: threading.Event) -> None:
    """Reload upon SIGHUP, in a thread of its own; set ``stop`` if the terminal was closed."""
    requests: queue.SimpleQueue[None] = queue.SimpleQueue()  # put() may be interrupted by put()
    terminal_gone = watch_terminal()

    def wait() -> None:
        while True:
            requests.get()
            if terminal_gone():
                stop.set()
                return
            reload()

    threading.Thread(target=wait, name="reload", daemon=True).start()
    signal.signal(signal.SIGHUP, lambda *_: requests.put(None))


def read_again(conf: cfg.ConfigOpts) -> bool:
    """Read the files of the configuration again, for the options that may change meanwhile.

    :returns: whether they could be read; what is wrong goes to the log, and nothing has changed
    """
    try:
        conf.mutate_config_files()
    except (cfg.Error, OSError) as error:
        LOG.error("the configuration stays as it was: %s", error)
        return False
    return True


def make_state_folder(conf: cfg.ConfigOpts) -> Path:
    """Return the state folder, made if it is missing and readable for its owner only.

    :raises OSError: it cannot be made or written
    """
    folder = Path(conf.state_path).absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"the state folder {folder} cannot be written: {error.strerror}") from error
    return folder


def have_alone(folder: Path, prog: str) -> None:
    """Keep other programs of this name out of a folder until this process ends.

    :raises ConfigError: one is in it
    """
    lock = os.open(folder / f"{prog}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ConfigError(
            f"another {prog} uses the state folder {folder}; stop it, or give this one another"
            " with --state-path"
        ) from None
