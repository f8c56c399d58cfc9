"""Telling agents to end attempts that are not current any more."""

from __future__ import annotations

import time
from collections import Counter
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
WINDOW = 10.0  # seconds
MOST = 100  # orders that one host is given in a window because of what it says


class Stale(NamedTuple):
    """An attempt that a host has in hand although it was given up."""

    case: str
    attempt: str
    host: str


class Bound:
    """Keeps few of the attempts that hosts name, so that inventing them costs nobody much.

    An order is signed and waits in a queue. An agent names again what it still has. For one thread.
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._told: Counter[str] = Counter()

    def keep(self, stale: Iterable[Stale]) -> list[Stale]:
        """Return those of them that their hosts are told to end now."""
        now = time.monotonic()
        if now - self._since >= WINDOW:
            self._since, self._told = now, Counter()
        kept: list[Stale] = []
        for one in stale:
            if self._told[one.host] < MOST:
                self._told[one.host] += 1
                kept.append(one)
        return kept


def stale(database: Database, beats: Iterable[Heartbeat]) -> set[Stale]:
    """Return what hosts say that they have in hand although it was given up."""
    held = {Stale(case, one, beat.host) for beat in beats for one, case in beat.held.items()}
    return held - database.read(attempts.rightly_held, {one.case for one in held}) if held else held


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
        LOG.log(error.level, "%d attempts that were given up go on: %s", len(envelopes), error)
