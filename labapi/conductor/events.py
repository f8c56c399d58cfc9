"""Announcing changes of state to whoever listens."""

from __future__ import annotations

from collections.abc import Iterable

from oslo_log import log

from labapi.case import Result, State
from labapi.db.attempts import Lost
from labapi.exceptions import BrokerUnavailable
from labapi.rpc.messages import CaseChanged
from labapi.rpc.publisher import Publisher, announcements

LOG = log.getLogger(__name__)


def of_lost(lost: Lost) -> list[CaseChanged]:
    """Return what there is to announce of cases whose attempts were given up."""
    again = [CaseChanged(case=case, state=State.QUEUED) for case in lost.again]
    return again + of_ended(lost.ended)


def of_ended(cases: Iterable[str]) -> list[CaseChanged]:
    """Return what there is to announce of cases that have ended as ERROR."""
    return [CaseChanged(case=case, state=State.FINISHED, result=Result.ERROR) for case in cases]


def announce(publisher: Publisher, changes: Iterable[CaseChanged]) -> None:
    """Publish events; they are news, not records, so they are dropped while the broker is away."""
    envelopes = announcements(changes)
    if not envelopes:
        return
    try:
        publisher.publish(envelopes)
    except BrokerUnavailable as error:
        LOG.log(error.level, "%d events were not announced: %s", len(envelopes), error)
