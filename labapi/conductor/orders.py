"""Telling agents to end attempts that are not current any more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from oslo_log import log

from labapi.db import attempts
from labapi.db.session import Database
from labapi.exceptions import BrokerUnavailable
from labapi.rpc.messages import CancelCase, Heartbeat
from labapi.rpc.publisher import Envelope, Publisher
from labapi.rpc.transport import control_key

LOG = log.getLogger(__name__)

EXPIRES = 60.0  # seconds; the agent names the attempt again if it still has it


class Stale(NamedTuple):
    """An attempt that a host has in hand although it was given up."""

    case: str
    attempt: str
    host: str


def stale(database: Database, beats: Iterable[Heartbeat]) -> set[Stale]:
    """Return what hosts say that they have in hand although it was given up."""
    held = {Stale(case, one, beat.host) for beat in beats for one, case in beat.held.items()}
    return held - database.read(attempts.current, {one.case for one in held}) if held else held


def end(publisher: Publisher, stale: Iterable[Stale]) -> None:
    """Have agents end these attempts; what they report of them counts for nothing."""
    envelopes = [
        Envelope(
            CancelCase(case=one.case, attempt=one.attempt, host=one.host),
            control_key(one.host),
            expires=EXPIRES,
        )
        for one in set(stale)
    ]
    if not envelopes:
        return
    LOG.info("%d attempts that were given up are to end", len(envelopes))
    try:
        publisher.publish(envelopes)
    except BrokerUnavailable as error:
        LOG.warning("%d attempts that were given up go on: %s", len(envelopes), error)
