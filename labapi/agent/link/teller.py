"""What the agent tells of its attempts: into the journal first, then to the conductors."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter

from oslo_log import log

from labapi.agent.attempts.attempt import Attempt, Ending
from labapi.agent.attempts.journal import Journal
from labapi.agent.link.reporter import Report, Reporter
from labapi.rpc import messages
from labapi.rpc.messages import CancelCase, CaseRefused, CaseResult, Output, RunCase

LOG = log.getLogger(__name__)


class Teller:
    """Tells how attempts go and end."""

    def __init__(self, host: str, journal: Journal, reporter: Reporter) -> None:
        self._host = host
        self._journal = journal
        self._reporter = reporter
        self._lock = threading.Lock()
        self._ended: Counter[str] = Counter()

    def ended(self) -> dict[str, int]:
        """Return how many attempts were reported as ended since the start, by their result."""
        with self._lock:
            return dict(self._ended)

    def report(self, attempt: Attempt, ending: Ending) -> None:
        """Report how an attempt ended."""
        with attempt.speaking:
            report = attempt.report(ending)
            attempt.told = True
            self._count(ending)
            try:
                self._journal.finished(attempt.id, map(messages.encode, report))
            except sqlite3.Error as error:
                LOG.error("the result of attempt %s is not in the journal: %s", attempt.id, error)
            self._reporter.submit(Report(report, attempt.id))

    def settle(self, attempt: Attempt, ending: Ending) -> None:
        """Report an attempt that has not run."""
        if attempt.settle():
            attempt.stop.close()
            self.report(attempt, ending)

    def refuse(self, command: RunCase | CancelCase, ending: Ending) -> None:
        """Report an attempt that is not in the journal as one that runs or waits."""
        self._count(ending)
        result = CaseResult(
            case=command.case,
            attempt=command.attempt,
            host=self._host,
            result=ending.result,
            reason=ending.reason,
            detail=ending.detail,
        )
        self._reporter.submit(Report([result]))

    def distrust(self, command: RunCase) -> None:
        """Report that no trusted key has signed an attempt, which therefore never runs."""
        refusal = CaseRefused(case=command.case, attempt=command.attempt, host=self._host)
        self._reporter.submit(Report([refusal]))

    def forget(self, attempt: Attempt) -> None:
        """Drop an attempt that has not started; when it is resent it is new."""
        if attempt.settle():
            attempt.stop.close()
            try:
                self._journal.forget_one(attempt.id)
            except sqlite3.Error as error:
                LOG.error("attempt %s cannot be forgotten: %s", attempt.id, error)

    def flush(self, attempt: Attempt) -> None:
        """Tell that an attempt runs, once, and what it has written; never wait for the broker."""
        with attempt.speaking:
            told: list[messages.Message] = [] if attempt.told else [attempt.begun()]
            attempt.told = True
            if pieces := attempt.pieces():
                self._keep(attempt, pieces)
            if told or pieces:
                self._reporter.submit(Report([*told, *pieces]))

    def _count(self, ending: Ending) -> None:
        with self._lock:
            self._ended[ending.result] += 1

    def _keep(self, attempt: Attempt, pieces: list[Output]) -> None:
        try:
            self._journal.wrote(attempt.id, [(piece.offset, piece.data) for piece in pieces])
        except sqlite3.Error as error:
            LOG.error("output of attempt %s is not in the journal: %s", attempt.id, error)

    def confirmed(self, reports: list[Report]) -> None:
        """Note what the broker has."""
        ended = [report.attempt for report in reports if report.attempt is not None]
        told = [message for report in reports for message in report.messages]
        pieces = [(m.attempt, m.offset) for m in told if isinstance(m, Output)]
        if not ended and not pieces:
            return
        try:
            self._journal.confirmed(ended, pieces)
        except sqlite3.Error as error:
            LOG.error("reports are sent but not noted, and will be sent again: %s", error)
