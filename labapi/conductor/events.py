"""Announcing changes of state to whoever listens."""

from __future__ import annotations

from collections.abc import Iterable

from oslo_log import log

from labapi.exceptions import BrokerUnavailable
from labapi.rpc.messages import CaseChanged
from labapi.rpc.publisher import Envelope, Publisher
from labapi.rpc.transport import EVENTS

LOG = log.getLogger(__name__)


def announce(publisher: Publisher, changes: Iterable[CaseChanged]) -> None:
    """Publish events; they are news, not records, so a broker that is away costs nobody more."""
    envelopes = [
        Envelope(change, f"testcase.{change.state}", exchange=EVENTS.name) for change in changes
    ]
    if not envelopes:
        return
    try:
        publisher.publish(envelopes)
    except BrokerUnavailable as error:
        LOG.warning("%d events were not announced: %s", len(envelopes), error)
