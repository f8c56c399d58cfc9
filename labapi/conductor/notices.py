"""Tells people and programs of the ends of test plans, from rows that the end itself has written.

Each notice is claimed by one conductor, sent, and settled. A conductor that is killed in between
leaves the claim, and when that is over the notice is sent again: only then it may come twice. What
fails is tried again with growing pauses, and given up after ``[notify] max_age``.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec
from oslo_config import cfg
from oslo_log import log

from labapi.conductor.destinations import NotSent
from labapi.conductor.mail import Mailer
from labapi.conductor.webhook import Webhooks
from labapi.db import notices, plan_reports, testplans
from labapi.db.session import Database, Record
from labapi.exceptions import DatabaseUnavailable, LabapiError
from labapi.plans.plain import line
from labapi.plans.report import Report, shortened
from labapi.plans.summary import Summary
from labapi.plans.tally import Tally
from labapi.trouble import Trouble

LOG = log.getLogger(__name__)

SENDERS = 8  # notices that are sent at the same time
LONGEST_PAUSE = 3600.0  # seconds between tries
AGAIN = 1.0  # seconds between tries to write down what was sent


class Told(Summary, kw_only=True):
    """What a webhook is told."""

    counts: Mapping[str, int]


class Notices(threading.Thread):
    """Looks for notices that are due, and sends them.

    :param conf: configuration with the groups ``[notify]`` and ``[conductor]``
    :raises ConfigError: an option of ``[notify]`` cannot be used
    """

    def __init__(self, conf: cfg.ConfigOpts, database: Database) -> None:
        super().__init__(name="notices", daemon=True)
        self._options = options = conf.notify
        self._interval: float = conf.conductor.sweep_interval
        # Longer than any try lasts: one to a mail server has several waits.
        self._claim = datetime.timedelta(seconds=60 + 6 * options.timeout)
        self._database = database
        self._mailer = Mailer(options)
        self._webhooks = Webhooks(options)
        self._stopping = threading.Event()

    def stop(self, timeout: float = 10.0) -> None:
        """End after the tries at hand; wait for that at most ``timeout`` seconds."""
        self._stopping.set()
        self.join(timeout)

    def run(self) -> None:
        """Send what is due, again and again."""
        trouble = Trouble(LOG, "telling of the ends of plans")
        while not self._stopping.is_set():
            sent = 0
            with trouble.told():
                sent = self.send_due(datetime.datetime.now(datetime.UTC))
            if not sent:
                self._stopping.wait(self._interval)

    def send_due(self, now: datetime.datetime) -> int:
        """Try what is due at this time, some at once, and return how many."""
        until = now + self._claim
        tries = [
            threading.Thread(target=self._try, args=(row, until), name="notice", daemon=True)
            for row in self._database.read(notices.due, now, SENDERS)
            if self._database.write(notices.claim, row, until)
        ]
        for thread in tries:
            thread.start()
        for thread in tries:
            thread.join()
        return len(tries)

    def _try(self, row: Record, until: datetime.datetime) -> None:
        problem: NotSent | None = None
        try:
            self._send(row)
        except NotSent as error:
            problem = error
        except LabapiError as error:
            problem = NotSent(str(error))
        except Exception:
            LOG.exception("telling %s of the end of plan %s failed", who(row), row.uuid)
            problem = NotSent("an unexpected error; the log of the conductor says which")
        self._settle(row, until, problem)

    def _send(self, row: Record) -> None:
        """Try to send a notice, once.

        :raises NotSent: that did not work
        """
        key = f"{row.id}.{row.uuid}"
        if "mail" in row.target:
            self._mailer.send(row.target["mail"], self._report(row), key)
            return
        plan = self._plan(row)
        counts = Tally.of(self._database.read(testplans.tallies, row.plan_id)).counts
        body = msgspec.json.encode(Told.of(plan, counts=counts))
        headers = {"X-Labapi-Event": "testplan.finished", "X-Labapi-Delivery": key}
        self._webhooks.post(row.target["webhook"], body, row.target.get("secret"), headers)

    def _plan(self, row: Record) -> Record:
        plan = self._database.read(testplans.get, row.plan_id)
        if plan is None:
            raise NotSent("the plan is gone", final=True)
        return plan

    def _report(self, row: Record) -> Report:
        most = self._options.max_log
        report = plan_reports.read(self._database, self._plan(row), output=most, most=most)
        return shortened(report, self._options.max_entries)

    def _settle(self, row: Record, until: datetime.datetime, problem: NotSent | None) -> None:
        """Write down what became of a try, as long as the claim lasts."""
        while True:
            now = datetime.datetime.now(datetime.UTC)
            try:
                if problem is None:
                    self._database.write(notices.sent, row.id, until, now)
                    LOG.info("told %s of the end of plan %s", who(row), row.uuid)
                else:
                    self._note_failure(row, until, problem, now)
            except DatabaseUnavailable as error:
                if now > until or self._stopping.wait(AGAIN):
                    LOG.warning("what became of a notice to %s is not noted: %s", who(row), error)
                    return
            else:
                return

    def _note_failure(
        self, row: Record, until: datetime.datetime, problem: NotSent, now: datetime.datetime
    ) -> None:
        seconds = min(self._options.retry_interval * 2.0 ** min(row.tries, 32), LONGEST_PAUSE)
        again = now + datetime.timedelta(seconds=seconds)
        end = row.created_at + datetime.timedelta(seconds=self._options.max_age)
        given_up = problem.final or again > end
        why = str(problem)
        self._database.write(notices.failed, row.id, until, why, None if given_up else again)
        if given_up:
            LOG.error("%s is not told of the end of plan %s: %s", who(row), row.uuid, why)
        elif not row.tries:
            LOG.warning("%s cannot be told of the end of plan %s yet: %s", who(row), row.uuid, why)


def who(row: Record) -> str:
    """Return who is told, without what may be a secret."""
    if "mail" in row.target:
        return line(row.target["mail"])
    return f"the webhook at {urlsplit(row.target['webhook']).hostname}"
