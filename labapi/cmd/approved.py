"""The pipeline and the policy that have proved to work, for workers that start."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import IO

from oslo_log import log

from labapi.api import load, policy, reload
from labapi.api.backend.backend import Backend
from labapi.exceptions import ConfigError
from labapi.pipeline.build import Texts

LOG = log.getLogger(__name__)

TRIAL = 60.0  # seconds that a pipeline may take to be built


class Approved:
    """Keeps the last files from which a pipeline could be built.

    New files are tried in a process of their own: whatever they do there, this one goes on.

    :param behind: what the application works with; nothing of it is started
    :param prepare: what the process that tries has to do first
    :ivar texts: of the Paste files
    :ivar policy: the rules
    :raises ConfigError: the files cannot work as they are now
    """

    def __init__(self, behind: Backend, prepare: Callable[[], object]) -> None:
        self._behind = behind
        self._prepare = prepare
        self.path = load.find(behind.conf)
        self.policy = behind.policy
        self.texts = self._try()

    def renew(self) -> bool:
        """Take the files as they are now, if they can work; what is wrong goes to the log."""
        try:
            with tempfile.TemporaryFile() as found:
                _apart(lambda: self._report(found))
                found.seek(0)
                self._take(found.read())
        except ConfigError as error:
            wrong = error
        else:
            return True
        reload.refused(wrong)
        return False

    def _take(self, report: bytes) -> None:
        if not report:
            raise ConfigError(f"{self.path}: something in it ended the process that tried it")
        match json.loads(report):
            case {"error": str(error)}:
                raise ConfigError(error)
            case {"texts": dict(texts)}:
                self.policy, self.texts = policy.load(self._behind.conf), Texts(texts)

    def _report(self, found: IO[bytes]) -> None:
        self._prepare()
        said: dict[str, dict[str, str] | str]
        try:
            policy.load(self._behind.conf)
            said = {"texts": self._try()}
        except ConfigError as error:
            LOG.debug("why the pipeline could not be built", exc_info=True)
            said = {"error": str(error)}
        found.write(json.dumps(said).encode())
        found.flush()

    def _try(self) -> Texts:
        texts = Texts()
        load.load(self._behind.conf, self._behind, self.path, texts)
        return texts


def _apart(work: Callable[[], None]) -> None:
    """Work in a process of its own.

    SIGCHLD is blocked in the caller, as are SIGTERM and SIGINT; these two end the wait.

    :raises ConfigError: it takes too long
    """
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            work()
            sys.stdout.flush()
            os._exit(0)
        os._exit(1)
    if not _ended(pid):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise ConfigError(f"the pipeline could not be built within {TRIAL:g} s")


def _ended(pid: int) -> bool:
    """Wait for the end of a process; False if it takes too long or this one has to stop."""
    deadline = time.monotonic() + TRIAL
    while os.waitpid(pid, os.WNOHANG)[0] != pid:
        if time.monotonic() > deadline or signal.sigpending() & {signal.SIGTERM, signal.SIGINT}:
            return False
        signal.sigtimedwait({signal.SIGCHLD}, 0.2)
    return True
