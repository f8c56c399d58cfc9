"""What nobody reports is noticed here: cases that wait too long, are overdue, or are lost."""

from __future__ import annotations

import datetime
import threading
from collections import defaultdict

from oslo_config import cfg
from oslo_log import log

from labapi.case import ACTIVE, Reason, Result, State
from labapi.conductor import events
from labapi.conductor.dispatch import Dispatcher
from labapi.db import attempts, queue, services
from labapi.db.session import Database, Record
from labapi.rpc.messages import CaseChanged
from labapi.rpc.publisher import Publisher
from labapi.trouble import Trouble

LOG = log.getLogger(__name__)

BINARY = "labapi-conductor"

# Verdicts on an unfinished case: (reason, detail). FAIL is the test's to say; these are ERROR.
LOST = (Reason.AGENT_LOST, "the host's agent was not heard of any more while the case ran")
OVERDUE = (
    Reason.AGENT_LOST,
    "the host's agent is up but did not report the case's end in time",
)
EXPIRED = (Reason.EXPIRED, "the host did not take the case in time")


class Reaper(threading.Thread):
    """Looks over all unfinished cases every ``sweep_interval`` seconds.

    Several conductors may do it at once: every move is guarded by the state it starts from.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        publisher: Publisher,
        dispatcher: Dispatcher,
    ) -> None:
        super().__init__(name="reaper", daemon=True)
        self._conf = conf.conductor
        self._database = database
        self._publisher = publisher
        self._dispatcher = dispatcher
        self._stopping = threading.Event()

    def stop(self, timeout: float = 10.0) -> None:
        """End after the sweep at hand; wait for it at most ``timeout`` seconds."""
        self._stopping.set()
        self.join(timeout)

    def run(self) -> None:
        """Sweep until stopped; the next sweep comes, whatever one met."""
        trouble = Trouble(LOG, "reaper: the look at what is unfinished")
        while not self._stopping.wait(self._conf.sweep_interval):
            with trouble.told():
                self.sweep(datetime.datetime.now(datetime.UTC))
        with trouble.told():  # else it is seen by its silence
            self._beat(datetime.datetime.now(datetime.UTC), stopped=True)

    def sweep(self, now: datetime.datetime) -> None:
        """Look once over everything that is unfinished."""
        self._beat(now)
        self._dispatcher.dispatch(self._database.read(queue.waiting_hosts))
        oldest = now - datetime.timedelta(seconds=self._conf.queue_timeout)
        waited = self._database.read(attempts.expired, oldest)
        self._finish(waited, now, (State.QUEUED,), EXPIRED)
        self._look_after_active(now)

    def _beat(self, now: datetime.datetime, *, stopped: bool = False) -> None:
        beat = {self._conf.host: None}
        self._database.write(services.beat, BINARY, beat, now, stopped=stopped)

    def _look_after_active(self, now: datetime.datetime) -> None:
        settled = now - datetime.timedelta(seconds=min(5.0, self._conf.sweep_interval))
        verdicts: dict[tuple[str, str], list[str]] = defaultdict(list)
        lost: list[str] = []
        resend: list[str] = []
        cancel: list[str] = []
        for case in self._database.read(attempts.active, settled):
            verdict = self._verdict(case, now)
            if verdict is LOST:
                lost.append(case.uuid)
            elif verdict is not None:
                verdicts[verdict].append(case.uuid)
            elif case.state == State.CANCELLING:
                cancel.append(case.uuid)
            elif case.started_at is None and self._unanswered(case, now):
                resend.append(case.uuid)
        if lost:
            limit = self._conf.max_attempts
            _, ended = self._database.write(attempts.lose, lost, now, LOST[1], max_attempts=limit)
            self._tell(ended, LOST[0])
        for verdict, cases in verdicts.items():
            self._finish(cases, now, ACTIVE, verdict)
        self._dispatcher.cancel(cancel)
        self._dispatcher.resend(self._database.write(queue.resend, resend, now))

    def _verdict(self, case: Record, now: datetime.datetime) -> tuple[str, str] | None:
        down_time = self._conf.service_down_time
        since_dispatch = (now - case.dispatched_at).total_seconds()
        if since_dispatch > down_time and not self._dispatcher.liveness.is_up(case, now):
            return LOST
        if case.started_at is None:
            waited = (now - case.created_at).total_seconds()
            return EXPIRED if waited > self._conf.queue_timeout else None
        ran = (now - case.started_at).total_seconds()
        return OVERDUE if ran > case.timeout + self._conf.report_timeout else None

    def _unanswered(self, case: Record, now: datetime.datetime) -> bool:
        return bool((now - case.dispatched_at).total_seconds() > self._conf.resend_interval)

    def _finish(
        self,
        cases: list[str],
        now: datetime.datetime,
        states: tuple[str, ...],
        verdict: tuple[str, str],
    ) -> None:
        if not cases:
            return
        reason, detail = verdict
        ended = self._database.write(
            attempts.finish,
            cases,
            now,
            states=states,
            result=Result.ERROR,
            reason=reason,
            detail=detail,
        )
        self._tell(ended, reason)

    def _tell(self, ended: list[str], reason: str) -> None:
        if ended:
            LOG.warning("%d cases ended as ERROR/%s", len(ended), reason)
        events.announce(
            self._publisher,
            [CaseChanged(case=case, state=State.FINISHED, result=Result.ERROR) for case in ended],
        )
