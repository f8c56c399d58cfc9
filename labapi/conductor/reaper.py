"""Notices what nobody reports: cases that wait too long, are overdue, or are lost."""

from __future__ import annotations

import datetime
import threading
from collections import defaultdict
from collections.abc import Collection, Container
from dataclasses import dataclass, field

from oslo_config import cfg
from oslo_log import log

from labapi.case import ACTIVE, Reason, Result, State
from labapi.conductor import events, orders, remarks
from labapi.conductor.dispatch import Dispatcher
from labapi.conductor.health import Health
from labapi.conductor.hearing import Hearing
from labapi.conductor.leases import Leases
from labapi.conductor.meters import Meters
from labapi.conductor.orders import Stale
from labapi.conductor.watch import Watch
from labapi.db import attempts, queue, services
from labapi.db.session import Database, Record
from labapi.rpc import signing
from labapi.rpc.messages import CaseChanged
from labapi.rpc.publisher import Publisher
from labapi.trouble import Trouble

LOG = log.getLogger(__name__)

BINARY = services.CONDUCTOR

# Verdicts on an unfinished case: (reason, detail). FAIL is the test's to say; these are ERROR.
LOST = (Reason.AGENT_LOST, "the host's agent was not heard of any more while the case ran")
OVERDUE = (Reason.AGENT_LOST, "the host's agent is up but did not report the case's end in time")
EXPIRED = (Reason.EXPIRED, "the host did not take the case in time")
UNPLACED = (Reason.EXPIRED, "no host could take the case in time")

UNTOUCHED = "the host was stopped before the case came"


@dataclass
class _Findings:
    """What a look at the unfinished cases comes to: UUIDs, and attempts with theirs.

    :ivar verdicts: ``{case: attempt}`` of what has this one; so is ``lost``
    """

    verdicts: dict[tuple[str, str], dict[str, str]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    lost: dict[str, str] = field(default_factory=dict)
    untouched: dict[str, str] = field(default_factory=dict)
    cancel: list[str] = field(default_factory=list)
    resend: list[str] = field(default_factory=list)
    stale: set[Stale] = field(default_factory=set)
    remarks: dict[str, str | None] = field(default_factory=dict)


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
        hearing: Hearing,
        meters: Meters | None = None,
    ) -> None:
        super().__init__(name="reaper", daemon=True)
        self._conf = conf.conductor
        self._database = database
        self._publisher = publisher
        self._dispatcher = dispatcher
        self._hearing = hearing
        self._lost_after: float = max(self._conf.lost_after, self._conf.service_down_time)
        self._down_at: dict[str, datetime.datetime] = {}  # host → when it was seen down last
        self._leases = Leases(conf, database, dispatcher.hosts)
        self._health = Health(conf, database, dispatcher.liveness, dispatcher.send_given)
        self._meters = meters or Meters()
        self._watch = Watch(database, dispatcher.liveness, self._is_down, self._meters)
        self._stopping = threading.Event()

    def stop(self, timeout: float = 10.0) -> None:
        """End after the sweep at hand; wait for it at most ``timeout`` seconds."""
        self._stopping.set()
        self.join(timeout)

    def run(self) -> None:
        """Sweep until stopped; the next sweep comes, whatever one met."""
        trouble = Trouble(LOG, "reaper: the look at what is unfinished")
        with trouble.told():  # it is seen from its start, not from its first sweep
            self._beat(datetime.datetime.now(datetime.UTC))
        while not self._stopping.wait(self._conf.sweep_interval):
            with trouble.told():
                self.sweep(datetime.datetime.now(datetime.UTC))
        with trouble.told():  # else it is seen by its silence
            self._beat(datetime.datetime.now(datetime.UTC), stopped=True)

    def sweep(self, now: datetime.datetime) -> None:
        """Look once over everything that is unfinished."""
        self._beat(now)
        self._hearing.listen(now)
        self._leases.sweep(now)
        self._dispatcher.sweep()
        self._watch.look(now)
        oldest = now - datetime.timedelta(seconds=self._conf.queue_timeout)
        waited = self._database.read(attempts.expired, oldest)
        named = [case.uuid for case in waited if case.host is not None]
        self._finish(named, now, (State.QUEUED,), EXPIRED)
        others = [case.uuid for case in waited if case.host is None]
        self._finish(others, now, (State.QUEUED,), UNPLACED)
        self._look_after_active(now)
        self._health.sweep(now)

    def _beat(self, now: datetime.datetime, *, stopped: bool = False) -> None:
        beat = {self._conf.host: {services.SIGNING_KEY: signing.key_of(self._publisher.signer)}}
        self._database.write(services.beat, BINARY, beat, now, stopped=stopped)

    def _is_down(self, host: Record, now: datetime.datetime) -> bool:
        return self._silence(host, host.last_seen_at, now)[0]

    def _look_after_active(self, now: datetime.datetime) -> None:
        settled = now - datetime.timedelta(seconds=min(5.0, self._conf.sweep_interval))
        found = _Findings()
        for case in self._database.read(attempts.active, settled):
            self._look_at(case, now, found)
        if found.remarks:
            self._database.write(attempts.remark, found.remarks)
        if found.untouched:
            self._dispatcher.release(found.untouched, UNTOUCHED)
        if found.lost:
            limit = self._conf.max_attempts
            lost = self._database.write(attempts.lose, found.lost, now, LOST[1], max_attempts=limit)
            self._meters.ended(Result.ERROR, LOST[0], len(lost.ended))
            LOG.warning("%d cases ended as ERROR/%s", len(lost.ended), LOST[0])
            events.announce(self._publisher, events.of_lost(lost))
        for verdict, cases in found.verdicts.items():
            self._finish(cases, now, ACTIVE, verdict, only=set(cases.values()))
        # What has its verdict does not begin any more, and does not go on.
        orders.end(self._publisher, found.stale)
        self._dispatcher.cancel(found.cancel)
        if found.resend:
            self._dispatcher.resend(self._database.write(queue.resend, found.resend, now))

    def _look_at(self, case: Record, now: datetime.datetime, found: _Findings) -> None:
        # A host that was removed from the list has said nothing since the case was dispatched.
        down, lost = self._silence(case, case.last_seen_at or case.dispatched_at, now)
        if lost and _is_untouched(case):
            found.untouched[case.attempt] = case.uuid
        elif lost:
            found.lost[case.uuid] = case.attempt
            found.stale.add(Stale(case.uuid, case.attempt, case.host))
        elif down:
            # Nothing is decided: what the host reports until it is lost counts.
            self._down_at[case.host] = now
            if not (case.detail or "").startswith(remarks.DOWN):
                found.remarks[case.uuid] = remarks.of_running(case)
        elif verdict := self._overdue(case, now):
            found.verdicts[verdict][case.uuid] = case.attempt
            found.stale.add(Stale(case.uuid, case.attempt, case.host))
        else:
            if (case.detail or "").startswith(remarks.DOWN):
                found.remarks[case.uuid] = None
            if case.state == State.CANCELLING:
                found.cancel.append(case.uuid)
            elif case.started_at is None and self._unanswered(case, now):
                found.resend.append(case.uuid)

    def _silence(
        self, row: Record, since: datetime.datetime | None, now: datetime.datetime
    ) -> tuple[bool, bool]:
        """Say whether a host is down, and whether it is so for too long.

        :param row: with what the driver of liveness wants to know
        :param since: when it was heard of last
        """
        if self._dispatcher.liveness.is_up(row, now):
            return False, False
        if since is None:
            return True, True
        silent = self._hearing.heard_for(since, now)
        down = bool(row.stopped) or silent > self._conf.service_down_time
        return down, silent > self._lost_after

    def _overdue(self, case: Record, now: datetime.datetime) -> tuple[str, str] | None:
        """Return the verdict on a case that its host, which is up, does not end."""
        if case.started_at is None:
            waited = (now - case.created_at).total_seconds()
            return EXPIRED if waited > self._conf.queue_timeout else None
        deadline = case.started_at + datetime.timedelta(seconds=case.timeout)
        # While no report could come, none was late.
        deadline = max(deadline, self._down_at.get(case.host, deadline))
        late = self._hearing.heard_for(deadline, now)
        return OVERDUE if late > self._conf.report_timeout else None

    def _unanswered(self, case: Record, now: datetime.datetime) -> bool:
        sent = case.resent_at or case.dispatched_at
        return bool((now - sent).total_seconds() > self._conf.resend_interval)

    def _finish(
        self,
        cases: Collection[str],
        now: datetime.datetime,
        states: tuple[str, ...],
        verdict: tuple[str, str],
        only: Container[str | None] | None = None,
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
            only=only,
        )
        if ended:
            self._meters.ended(Result.ERROR, reason, len(ended))
            LOG.warning("%d cases ended as ERROR/%s", len(ended), reason)
        events.announce(
            self._publisher,
            [CaseChanged(case=case, state=State.FINISHED, result=Result.ERROR) for case in ended],
        )


def _is_untouched(case: Record) -> bool:
    """Say whether certainly nobody has begun a case: its host had said goodbye before it came."""
    return bool(
        case.state == State.RUNNING
        and case.started_at is None
        and case.stopped
        and case.last_seen_at < case.dispatched_at
    )
