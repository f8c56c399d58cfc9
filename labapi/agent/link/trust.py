"""Whom the agent obeys, and what it knows of the conductors' clock.

The agent sends a challenge, a number used once, with an announcement or a heartbeat; a conductor
answers with a signed ``Welcome`` that repeats the challenge and tells its time. So an answer that
somebody recorded cannot set the clock back, and one that is held up for longer than
``ANSWER_WITHIN`` does not count. From then on the agent's own steady clock goes on counting.
Cases wait until the first answer is here: without it, nothing tells an old command from a new one.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

from oslo_config import cfg
from oslo_log import log

from labapi.exceptions import ConfigError, ForSomebodyElse, Unavailable
from labapi.rpc import signing
from labapi.rpc.messages import RunCase, Welcome
from labapi.rpc.signing import Verifier
from labapi.rpc.transport import Transport

LOG = log.getLogger(__name__)

ANSWER_WITHIN = 30.0  # seconds from a challenge to its answer
RENEW = 3600.0  # seconds after which the conductors' clock is asked for again
UNKNOWN_WINDOW = 10.0  # seconds
MOST_UNKNOWN = 200  # commands that unknown keys have signed and that are answered in a window


def _steady() -> float:
    """Return seconds on a clock that nobody sets and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ConductorClock:
    """The conductors' clock, from the answers to challenges."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known = threading.Event()
        self._challenge = ""
        self._asked = 0.0
        self._told = (0.0, 0.0)

    def challenge(self) -> str | None:
        """Return what to send with the next sign of life, None if no answer is needed now."""
        with self._lock:
            now = _steady()
            if self._known.is_set() and now - self._told[1] < RENEW:
                return None
            if not self._challenge or now - self._asked > ANSWER_WITHIN:
                self._challenge, self._asked = secrets.token_hex(16), now
            return self._challenge

    def answered(self, challenge: str, clock: float) -> None:
        """Take a conductor's time from an answer whose signature is right."""
        with self._lock:
            now = _steady()
            if not self._challenge or challenge != self._challenge:
                return
            if now - self._asked <= ANSWER_WITHIN:
                # It is at least this late there: the answer has been on its way.
                self._told = (clock, now)
                self._known.set()
            self._challenge = ""

    def passed(self, moment: float) -> bool:
        """Say whether it is later than this there.

        :raises Unavailable: no conductor has told the time yet
        """
        if not self._known.is_set():
            raise Unavailable("no conductor has answered this agent yet")
        clock, at = self._told
        return clock + (_steady() - at) > moment


class Trust:
    """What the agent makes of a message before it reads it.

    :param options: the group ``[agent]``
    :ivar cases: verifies commands that run something, None to obey unsigned ones
    :ivar control: the same for the others
    :raises ConfigError: there is no key, and accept_unsigned is not set
    """

    def __init__(self, options: cfg.ConfigOpts.GroupAttr, transport: Transport) -> None:
        self._host: str = options.host
        self._clock = ConductorClock()
        self._options = options
        self._refused = False
        self._answered = (0, 0)  # the window of time, and how many in it
        self.cases: Verifier | None = None
        self.control: Verifier | None = None
        keys = signing.trusted(options.trusted_keys)
        if keys:
            self.cases = Verifier(keys, self._clock.passed)
            self.control = Verifier(keys)
        elif options.accept_unsigned:
            LOG.warning(
                "this agent obeys unsigned commands ([agent] accept_unsigned): whoever can write to"
                " the message broker can run programs here"
            )
        elif not transport.in_process:
            raise ConfigError(
                "[agent] trusted_keys names no key, so nobody could give this agent commands;"
                " run labapi-manage key create where the conductor runs, and name the public key"
                " here; or say accept_unsigned = true to obey whoever can write to the broker"
            )

    @property
    def keys(self) -> list[str] | None:
        """The short names of the keys that are trusted, None if everybody is obeyed."""
        return self.cases.keys if self.cases is not None else None

    def reload(self) -> bool:
        """Read the keys again; keep the old ones if that fails. What is wrong goes to the log.

        :returns: whether others are trusted now
        """
        before = self.keys
        try:
            keys = signing.trusted(self._options.trusted_keys)
        except ConfigError as error:
            LOG.error("%s; the keys that were trusted still are", error)
            return False
        if self.cases is None or self.control is None or not keys:
            if bool(keys) != bool(before):
                LOG.error("whether [agent] trusted_keys names any key counts at the start only")
            return False
        self.cases.trust(keys)
        self.control.trust(keys)
        LOG.info("trusted keys: %s", ", ".join(self.cases.keys))
        return self.keys != before

    def answer_unknown(self, answer: Callable[[bytes], None]) -> None:
        """Hand over the bodies of commands that an unknown key has signed."""
        if self.cases is not None:
            self.cases.unknown = answer

    def may_answer_unknown(self) -> bool:
        """Count an answer to a command that an unknown key has signed; False if there are many.

        Anybody who can write to the broker can make up such commands.
        """
        window = int(_steady() // UNKNOWN_WINDOW)
        last, count = self._answered
        self._answered = (window, count + 1 if window == last else 1)
        return self._answered[1] <= MOST_UNKNOWN

    def challenge(self) -> str | None:
        """Return the challenge to send, None if none is needed."""
        return self._clock.challenge() if self.cases is not None else None

    def welcomed(self, welcome: Welcome) -> None:
        """Take in the answer of a conductor."""
        self._clock.answered(welcome.challenge, welcome.clock)
        if not welcome.accepted and not self._refused:
            LOG.error(
                "the conductors refuse this agent: host %s belongs to another one (this machine was"
                " installed anew, or two machines have one name); an operator can say:"
                " labapi-manage agent accept %s",
                self._host,
                self._host,
            )
        self._refused = not welcome.accepted

    def for_this_agent(self, runs: list[RunCase], agent: str) -> list[RunCase]:
        """Return the commands that are for this agent, not for another of the same host name.

        :raises ForSomebodyElse: none is; the broker gives them to the other agent, if it is there
        """
        mine = [run for run in runs if run.agent in (None, agent)]
        if runs and not mine:
            raise ForSomebodyElse("cases here are for another agent of this host's name")
        if len(mine) < len(runs):
            LOG.error("%d cases for another agent were dropped here", len(runs) - len(mine))
        elif mine and self._refused:
            LOG.info("the conductors have accepted this agent")
            self._refused = False
        return mine
