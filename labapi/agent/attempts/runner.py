"""Running an attempt: the method's call, what its end means, and what it leaves behind."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from oslo_log import log

from labapi.agent import folders
from labapi.agent.attempts.attempt import Attempt, Ending, plain
from labapi.agent.attempts.journal import Journal
from labapi.agent.catalogue import Catalogue
from labapi.agent.errors import CannotStart, CaseError, TestFailed
from labapi.agent.plugins.base import Outcome
from labapi.agent.plugins.run import Run, Stopped, Surroundings
from labapi.agent.processes.tree import Ended
from labapi.case import Reason, Result
from labapi.exceptions import InvalidInput
from labapi.rpc.messages import MAX_DATA, MAX_DEPTH, too_deep

LOG = log.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT)
EXHAUSTED = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class Runner:
    """Runs attempts, each in the thread that calls.

    :param report: takes an attempt and how it ended, if nobody has settled it before
    """

    def __init__(
        self,
        catalogue: Catalogue,
        journal: Journal,
        surroundings: Surroundings,
        report: Callable[[Attempt, Ending], None],
    ) -> None:
        self._catalogue = catalogue
        self._journal = journal
        self._surroundings = surroundings
        self._report = report

    def run(self, attempt: Attempt) -> None:
        """Run an attempt and report it; raises nothing."""
        try:
            self._journal.started(attempt.id)
            ending = self._attempt(attempt)
        except Exception as error:  # noqa: BLE001 (becomes the case's result)
            ending = _error(error, attempt)
        attempt.stop.close()
        if attempt.settle():
            self._report(attempt, ending)
        else:
            LOG.warning("case %s: its method came back at last", attempt.command.case)
        if attempt.run is not None:
            attempt.run.tree.close()
            if attempt.run.made is not None:
                folders.remove(attempt.run.made)

    def _attempt(self, attempt: Attempt) -> Ending:
        command = attempt.command
        entry = self._catalogue.find(command.plugin, command.method)
        entry.check(command.parameters)
        self._surroundings.limits.confine()
        run = Run(
            command.case,
            command.attempt,
            command.timeout,
            surroundings=self._surroundings,
            output=attempt.output,
            stop=attempt.stop,
            noted=lambda pid, start: self._journal.process(attempt.id, pid, start),
        )
        attempt.started, attempt.run = time.monotonic(), run
        ending = self._call(attempt, run, entry.method.call)
        left = None if run.tree.quiet() else run.tree.end(self._surroundings.grace)
        return with_remains(ending, run.ended, left)

    def _call(self, attempt: Attempt, run: Run, call: Callable[..., Any]) -> Ending:
        try:
            run.check()
            ending = _ending(call(run, attempt.command.parameters))
        except Stopped:
            ending = Ending(
                Result.ERROR, Reason.EXCEPTION, "the method raised Stopped without being stopped"
            )
        except Exception as error:  # noqa: BLE001 (becomes the case's result)
            ending = _error(error, attempt)
        except BaseException as error:  # noqa: BLE001 (sys.exit() ends the case, not the agent)
            ending = Ending(
                Result.ERROR, Reason.EXCEPTION, plain(f"{type(error).__name__}: {error}")
            )
        # An end that was asked for counts, whatever the method says; so does the timeout.
        if run.remaining == 0:
            attempt.stop.set(Reason.TIMEOUT)
        return stopped(attempt) or ending


def _ending(value: Any) -> Ending:
    """Return what a method's return value means."""
    outcome = value if isinstance(value, Outcome) else Outcome(Result.PASS, data=value)
    if outcome.result not in (Result.PASS, Result.FAIL):
        return Ending(Result.ERROR, Reason.BAD_DATA, "the method returned neither PASS nor FAIL")
    try:
        data = msgspec.json.encode(outcome.data)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return Ending(
            Result.ERROR, Reason.BAD_DATA, plain(f"what the method returned is not JSON: {error}")
        )
    if len(data) > MAX_DATA:
        return Ending(
            Result.ERROR,
            Reason.BAD_DATA,
            f"what the method returned is larger than {MAX_DATA} bytes of JSON",
        )
    if too_deep(data, MAX_DEPTH - 1):  # the message around it is a level, too
        return Ending(
            Result.ERROR,
            Reason.BAD_DATA,
            f"what the method returned is nested deeper than {MAX_DEPTH - 1} levels",
        )
    code = outcome.exit_code
    if code is not None and not (isinstance(code, int) and -(2**31) <= code < 2**31):
        return Ending(
            Result.ERROR,
            Reason.BAD_DATA,
            "the method returned an exit code that is not a 32-bit number",
        )
    detail = plain(str(outcome.detail)) if outcome.detail is not None else None
    return Ending(Result(outcome.result), None, detail, code, outcome.data)


def _error(error: Exception, attempt: Attempt) -> Ending:
    """Return what an exception on the way means."""
    text = plain(str(error))
    if isinstance(error, TestFailed):
        return Ending(Result.FAIL, detail=text)
    if isinstance(error, InvalidInput):
        return Ending(Result.ERROR, Reason.REJECTED, text)
    number = getattr(error.__cause__ if isinstance(error, CannotStart) else error, "errno", None)
    if number in FULL or (isinstance(error, sqlite3.OperationalError) and "full" in text):
        return Ending(Result.ERROR, Reason.NO_SPACE, f"no space is left on the host: {text}")
    if isinstance(error, OSError) and number in EXHAUSTED:
        return Ending(Result.ERROR, Reason.CANNOT_START, text)
    if isinstance(error, CaseError):
        return Ending(Result.ERROR, error.reason, text)
    command = attempt.command
    LOG.error("case %s (%s) failed", command.case, command.request_id, exc_info=error)
    return Ending(Result.ERROR, Reason.EXCEPTION, plain(f"{type(error).__name__}: {error}"))


def stopped(attempt: Attempt) -> Ending | None:
    """Return how an attempt that was asked to end ends; None if nobody asked."""
    reason = attempt.stop.reason
    if reason is None:
        return None
    if reason == Reason.TIMEOUT:
        return Ending(
            Result.TIMEOUT, Reason.TIMEOUT, f"it ran longer than {attempt.command.timeout:g} s"
        )
    if reason == Reason.CANCELLED:
        return Ending(Result.CANCELLED, Reason.CANCELLED, "it was cancelled")
    return Ending(Result.ERROR, reason, "the agent stopped while it ran")


def with_remains(ending: Ending, ended: Ended | None, left: Ended | None) -> Ending:
    """Add to the detail what was ended."""
    parts = [ending.detail] if ending.detail else []
    if ended is not None:
        parts.append(str(ended))
    if left is not None and left.found:
        parts.append(f"left in the background: {left}")
    return replace(ending, detail=plain("; ".join(parts))) if parts else ending
