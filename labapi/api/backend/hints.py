"""Telling conductors what there is to do, and listeners what was done, without waiting for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence

from oslo_log import log

from labapi.case import Result, State
from labapi.db.plans import Cancelled
from labapi.exceptions import BrokerUnavailable
from labapi.rpc.messages import CaseChanged, Wake
from labapi.rpc.publisher import Envelope, Publisher, event
from labapi.rpc.transport import CONDUCTOR, Transport

LOG = log.getLogger(__name__)

BACKLOG = 10_000  # hints that wait to be sent, and cases that are named again
TOGETHER = 100  # hints that go in one message
AGAIN = 1.0  # seconds until hints are sent again that were not confirmed
PATIENCE = 2.0  # seconds that the broker may take to connect, and to confirm

Said = Wake | CaseChanged


class Hints:
    """Sends hints from a thread of its own, until the broker has confirmed them.

    What to do is in the database, and conductors look there by themselves: every
    ``sweep_interval`` for what waits, and for what was given and has not begun after
    ``resend_interval``. A hint saves that time. It is sent again until it is confirmed; when
    ``BACKLOG`` hints wait, further ones are dropped. The thread also announces the changes of state
    that the API makes itself; an announcement is sent once.

    :ivar away: the broker was away or too slow at the last try
    """

    def __init__(self, transport: Transport) -> None:
        self.away = False
        self._publisher = Publisher(transport.within(PATIENCE))
        self._waiting: queue.Queue[tuple[Said, ...] | None] = queue.Queue(BACKLOG)
        self._unconfirmed: list[Wake] = []
        self._thread = threading.Thread(target=self._run, name="hints", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Send what waits and end the thread."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(5)
        self._publisher.close()

    def case_waits(self, case: str, host: str | None) -> None:
        """Say that a case waits for this host, or for any that can."""
        wake = Wake(unplaced=True) if host is None else Wake(hosts=[host])
        self._send(CaseChanged(case=case, state=State.QUEUED), wake)

    def case_given(self, case: str) -> None:
        """Say that a case was given to its host; the conductor that tells the host announces it."""
        self._send(Wake(given=[case]))

    def cancel_wanted(self, case: str) -> None:
        """Say that a running case is to be cancelled."""
        self._send(CaseChanged(case=case, state=State.CANCELLING), Wake(cancelled=[case]))

    def case_cancelled(self, case: str) -> None:
        """Say that a case which had waited is cancelled."""
        self._send(CaseChanged(case=case, state=State.FINISHED, result=Result.CANCELLED))

    def plan_waits(self, plan: str) -> None:
        """Say that something of a test plan may begin."""
        self._send(Wake(plans=[plan]))

    def plan_cancelled(self, plan: str, cancelled: Cancelled) -> None:
        """Say that a test plan is cancelled, and what became of its cases."""
        ended = (
            CaseChanged(case=case, state=State.FINISHED, result=Result.CANCELLED)
            for case in cancelled.ended
        )
        ending = (CaseChanged(case=case, state=State.CANCELLING) for case in cancelled.ending)
        self._send(*ended, *ending, Wake(cancelled=cancelled.ending, plans=[plan]))

    def cases_failed(self, cases: Iterable[str]) -> None:
        """Say that cases have ended as ERROR."""
        self._send(*(CaseChanged(case=c, state=State.FINISHED, result=Result.ERROR) for c in cases))

    def _send(self, *said: Said) -> None:
        try:
            self._waiting.put_nowait(said)
        except queue.Full:
            LOG.debug("a hint was dropped; conductors find the case when they sweep")

    def _run(self) -> None:
        while True:
            try:
                said = self._waiting.get(timeout=AGAIN if self._unconfirmed else None)
            except queue.Empty:
                self._publish([])
                continue
            self._publish([*said, *self._more()] if said is not None else [])
            if said is None:
                return

    def _more(self) -> Iterator[Said]:
        for _ in range(min(self._waiting.qsize(), TOGETHER)):
            said = self._waiting.get_nowait()
            if said is None:
                self._waiting.put(None)
                return
            yield from said

    def _publish(self, said: Sequence[Said]) -> None:
        hints = [*self._unconfirmed, *(hint for hint in said if isinstance(hint, Wake))]
        together = [_together(hints)] if hints else []
        envelopes = [Envelope(hint, CONDUCTOR) for hint in together]
        # A conductor that is quick announces what comes after these.
        envelopes[:0] = [event(change) for change in said if isinstance(change, CaseChanged)]
        if not envelopes:
            return
        try:
            self._publisher.publish(envelopes)
        except BrokerUnavailable as error:
            if not self.away:
                LOG.warning("cases wait in the database: %s", error)
            self.away = True
            self._unconfirmed = together
        else:
            self.away = False
            self._unconfirmed = []


def _together(hints: Sequence[Wake]) -> Wake:
    return Wake(
        hosts=sorted({host for hint in hints for host in hint.hosts})[:BACKLOG],
        given=[case for hint in hints for case in hint.given][:BACKLOG],
        cancelled=[case for hint in hints for case in hint.cancelled][:BACKLOG],
        unplaced=any(hint.unplaced for hint in hints),
        plans=sorted({plan for hint in hints for plan in hint.plans})[:BACKLOG],
    )
