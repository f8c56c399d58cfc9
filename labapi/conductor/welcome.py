"""The answer to an agent that asks who the conductors are, and what time they have."""

from __future__ import annotations

import re
import time

from labapi.rpc.messages import Announce, Goodbye, Heartbeat, Welcome
from labapi.rpc.publisher import Envelope
from labapi.rpc.transport import control_key

CHALLENGE = re.compile(r"[0-9a-f]{32}", re.ASCII)
EXPIRES = 30.0  # seconds; the agent takes no later answer


def challenge(sign: Announce | Heartbeat | Goodbye) -> str:
    """Return the challenge that a sign of life comes with, empty if none."""
    found = None if isinstance(sign, Goodbye) else sign.challenge
    return found if found and CHALLENGE.fullmatch(found) else ""


def to(sign: Announce | Heartbeat | Goodbye, *, accepted: bool = True) -> Envelope:
    """Return the answer to a sign of life.

    :param accepted: whether the host belongs to the agent that sent it
    """
    answer = Welcome(
        host=sign.host,
        agent=sign.agent,
        challenge=challenge(sign),
        clock=time.time(),
        accepted=accepted,
    )
    return Envelope(answer, control_key(sign.host), expires=EXPIRES)
