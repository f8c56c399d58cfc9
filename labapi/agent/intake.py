"""Commands as they come to the agent, each handler in the thread of its consumer."""

from __future__ import annotations

import sqlite3
import threading
import time

from oslo_config import cfg
from oslo_log import log

from labapi.agent.attempts.attempt import ID, Attempt, Ending
from labapi.agent.attempts.journal import Journal
from labapi.agent.attempts.slots import Slots
from labapi.agent.errors import CannotStart
from labapi.agent.link.signs import SignsOfLife
from labapi.agent.link.teller import Teller
from labapi.agent.link.trust import Trust
from labapi.agent.timers import Timers
from labapi.case import Reason, Result
from labapi.exceptions import BadMessage, Unavailable
from labapi.rpc import messages
from labapi.rpc.messages import CancelCase, Introduce, LeaseKeys, Message, RunCase, Welcome

LOG = log.getLogger(__name__)


class Intake:
    """Takes commands: each becomes an attempt, ends one, or is answered.

    :param options: the group ``[agent]``
    :param agent: UUID of this agent
    """

    def __init__(
        self,
        options: cfg.ConfigOpts.GroupAttr,
        agent: str,
        *,
        journal: Journal,
        slots: Slots,
        timers: Timers,
        signs: SignsOfLife,
        teller: Teller,
        trust: Trust,
    ) -> None:
        self._agent = agent
        self._host: str = options.host
        self._max_output: int = options.max_output
        self._journal = journal
        self._slots = slots
        self._timers = timers
        self._signs = signs
        self._teller = teller
        self._trust = trust
        # Held while attempts enter and while one is cancelled: a cancellation never falls between
        # the journal and the slots.
        self._lock = threading.Lock()

    def take(self, commands: list[Message]) -> None:
        """Journal attempts, then let them run; the broker is told after this returns."""
        if self._timers.paused:
            # The broker has given up this connection, and the conductor perhaps this host; what
            # is still in the pipe is as old as the pause was long.
            raise Unavailable("this agent was stopped for a while")
        runs = [c for c in commands if isinstance(c, RunCase) and self._is_mine(c)]
        runs = self._trust.for_this_agent(runs, self._agent)
        runs = [run for run in runs if self._is_of_this_session(run)]
        with self._lock:
            try:
                verdicts = self._journal.accept(runs)
            except sqlite3.Error as error:
                LOG.error("the journal takes no cases: %s", error)
                why = f"no space is left for the agent's journal: {error}"
                for run in runs:
                    self._teller.refuse(run, Ending(Result.ERROR, Reason.NO_SPACE, why))
                return
            for run in runs:
                self._admit(run, verdicts.pop(run.attempt, "new a moment ago"))

    def obey(self, commands: list[Message]) -> None:
        """Do what control messages say."""
        for command in commands:
            if isinstance(command, CancelCase) and self._is_mine(command):
                self._cancel(command)
            elif isinstance(command, Introduce) and command.host == self._host:
                self._signs.announce()
            elif isinstance(command, Welcome) and command.agent == self._agent:
                self._trust.welcomed(command)
            elif isinstance(command, LeaseKeys) and command.agent == self._agent:
                self._signs.told_keys(command)

    def distrust(self, body: bytes) -> None:
        """Tell the conductors that a command, which a key that is not trusted has signed, is void.

        Whoever signed it may be a conductor with a newer key. The attempt goes into the journal:
        it does not run later either, so the conductors may give the case another one.
        """
        if not self._trust.may_answer_unknown():
            return
        try:
            command = messages.decode(body)
        except BadMessage:
            return
        if not isinstance(command, RunCase) or not self._is_mine(command):
            return
        if command.agent not in (None, self._agent):
            return
        with self._lock:
            try:
                verdict = self._journal.distrust(command)
            except sqlite3.Error as error:
                LOG.error("the journal takes no cases: %s", error)
                return
        if verdict == "distrusted":
            self._teller.distrust(command)

    def halt(self, reason: Reason | None) -> None:
        """Forget what waits for a slot; it is resent after the next start.

        :param reason: why what runs is to end; None lets it go on
        """
        with self._lock:
            for attempt in self._slots.drain():
                self._teller.forget(attempt)
            if reason is not None:
                for attempt in self._slots.running():
                    attempt.stop.set(reason)

    def _admit(self, run: RunCase, verdict: str) -> None:
        if verdict == "refused":
            self._teller.refuse(
                run, Ending(Result.CANCELLED, Reason.CANCELLED, "it was cancelled before it came")
            )
        elif verdict == "distrusted":
            self._teller.distrust(run)
        elif verdict == "new":
            attempt = Attempt(run, self._max_output)
            try:
                self._slots.submit(attempt)
            except CannotStart as error:
                self._teller.settle(attempt, Ending(Result.ERROR, Reason.CANNOT_START, str(error)))
        else:
            LOG.debug("attempt %s came again (%s)", run.attempt, verdict)
            if (waiting := self._slots.waits(run.attempt)) is not None:
                waiting.heard = time.monotonic()

    def _cancel(self, command: CancelCase) -> None:
        cancelled = Ending(Result.CANCELLED, Reason.CANCELLED, "it was cancelled before it ran")
        with self._lock:
            waiting = self._slots.withdraw(command.attempt)
            if waiting is not None:
                self._teller.settle(waiting, cancelled)
            elif running := self._slots.running(command.attempt):
                running[0].stop.set(Reason.CANCELLED)
            elif self._journal.refuse(command) in ("refused", "distrusted"):
                self._teller.refuse(command, cancelled)

    def _is_mine(self, command: RunCase | CancelCase) -> bool:
        if command.host != self._host:
            LOG.error("a command for host %r came here; nothing is done", command.host)
            return False
        if not ID.fullmatch(command.attempt):
            LOG.error("a command has no proper attempt id; nothing is done")
            return False
        return True

    def _is_of_this_session(self, run: RunCase) -> bool:
        if run.session in (None, self._signs.session):
            return True
        LOG.info("case %s was given before contact was lost; it runs if it is resent", run.case)
        return False
