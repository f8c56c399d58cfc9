"""Tells agents whose ssh keys they are to let in, where they have others.

Nothing is remembered: agents say in each heartbeat what they have, and the database says what is
right. So a message that was lost is sent again, and a conductor that was killed leaves nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from labapi.db import leases
from labapi.db.session import Database, Record
from labapi.rpc.messages import Heartbeat, KeysHeld, LeaseKeys
from labapi.rpc.publisher import Envelope
from labapi.rpc.transport import control_key

EXPIRES = 30.0  # seconds; the agent asks again
SLACK = 5.0  # seconds by which an agent's idea of the end may be wrong


def corrections(
    database: Database, beats: Iterable[Heartbeat], now: datetime.datetime
) -> list[Envelope]:
    """Return what to tell those who have other keys than they are to have."""
    keepers = {beat.host: beat for beat in beats if beat.keys is not None}
    if not keepers:
        return []
    wanted = {row.host: row for row in database.read(leases.with_keys)}
    return [
        Envelope(told, control_key(host), expires=EXPIRES)
        for host, beat in keepers.items()
        if beat.keys is not None
        and (told := _correction(beat, beat.keys, wanted.get(host), now)) is not None
    ]


def _correction(
    beat: Heartbeat, held: KeysHeld, lease: Record | None, now: datetime.datetime
) -> LeaseKeys | None:
    left = (lease.ends_at - now).total_seconds() if lease is not None else 0.0
    if lease is None or left <= 0:
        if not held.lease:
            return None
        return LeaseKeys(host=beat.host, agent=beat.agent, nonce=held.nonce)
    if held.lease == lease.uuid and abs(held.seconds - left) <= SLACK:
        return None
    return LeaseKeys(
        host=beat.host,
        agent=beat.agent,
        nonce=held.nonce,
        lease=lease.uuid,
        keys=lease.keys,
        seconds=left,
    )
