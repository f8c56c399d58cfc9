"""The agent of one lab machine, put together."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time

from oslo_config import cfg
from oslo_log import log

from labapi.agent.attempts.attempt import ID, Attempt, Ending
from labapi.agent.attempts.journal import Journal
from labapi.agent.attempts.runner import Runner, stopped, with_remains
from labapi.agent.attempts.slots import Slots
from labapi.agent.catalogue import Catalogue
from labapi.agent.errors import CannotStart
from labapi.agent.link.reporter import Reporter
from labapi.agent.link.signs import SignsOfLife
from labapi.agent.link.teller import Teller
from labapi.agent.link.trust import Trust
from labapi.agent.plugins.run import Surroundings
from labapi.agent.processes import cgroup, limits
from labapi.agent.processes.children import CHILDREN
from labapi.agent.recovery import recover
from labapi.agent.state import StateFolder
from labapi.agent.timers import Duties, Timers
from labapi.case import Reason, Result
from labapi.exceptions import Unavailable
from labapi.rpc.consumer import BatchConsumer
from labapi.rpc.messages import (
    CancelCase,
    Introduce,
    Message,
    RunCase,
    Welcome,
)
from labapi.rpc.transport import Transport, agent_queue, control_queue

LOG = log.getLogger(__name__)

CONTROL_BATCH = 50  # messages
ROOM_WAIT = 5.0  # seconds that commands wait here for room; the broker tolerates as much silence
LAST_WORDS = 1.0  # seconds of the time for stopping that are kept for sending reports


class Agent:
    """Takes commands for one host, runs them and reports.

    :param conf: configuration with the ``[agent]`` group
    :param transport: how to reach the broker
    :ivar alive: it is started and not stopped
    """

    def __init__(self, conf: cfg.ConfigOpts, transport: Transport) -> None:
        self._options = conf.agent
        self._state_path: str = conf.state_path
        self._transport = transport
        self.host: str = conf.agent.host
        # Held while attempts enter and while one is cancelled: a cancellation never falls between
        # the journal and the slots.
        self._intake = threading.Lock()
        self.alive = False

    def start(self) -> None:
        """Clear up after the last run, then take commands; returns once that has begun.

        :raises ConfigError: the state folder, a plugin or an option cannot be used
        """
        self._trust = Trust(self._options, self._transport)
        with contextlib.ExitStack() as opened:
            self._open(opened)
            recover(self._journal, self._surroundings, self.host, self._reporter)
            self._close = opened.pop_all().close
        CHILDREN.adopt_orphans()
        self._signs.announce()
        for thread in (self._reporter, self._timers, *self._consumers):
            thread.start()
        self.alive = True

    def _open(self, opened: contextlib.ExitStack) -> None:
        """Make what the agent works with; what must be closed is noted in ``opened``."""
        options = self._options
        bounds = limits.read(options)
        self._state = StateFolder(
            self._state_path, self.host, options.work_dir, shared=bounds.owner is not None
        )
        opened.callback(self._state.close)
        limits.try_out(bounds, self._state.work)
        self._journal = Journal(self._state.path / "journal.sqlite", sync=options.journal_sync)
        opened.callback(self._journal.close)
        self._catalogue = Catalogue(
            options.plugins, allowed=options.allowed_methods, timeout=options.plugin_timeout
        )
        groups = cgroup.find(options.cgroup, self._state.agent)
        if groups is not None:
            opened.callback(groups.close)
        self._surroundings = Surroundings(self._state.work, options.kill_grace, bounds, groups)
        self._assemble()

    def _assemble(self) -> None:
        options = self._options
        self._reporter = Reporter(
            self._transport,
            self.host,
            confirmed=lambda reports: self._teller.confirmed(reports),
            lost=lambda: self._signs.lost_contact(),
            back=self._introduce,
        )
        self._teller = Teller(self.host, self._journal, self._reporter)
        runner = Runner(self._catalogue, self._journal, self._surroundings, self._teller.report)
        self._slots = Slots(options.slots, lambda attempt: self._run(runner, attempt))
        self._signs = SignsOfLife(
            options,
            self._transport.url,
            state=self._state,
            journal=self._journal,
            catalogue=self._catalogue,
            slots=self._slots,
            reporter=self._reporter,
            trust=self._trust,
        )
        duties = Duties(
            heartbeat=self._signs.beat,
            resumed=self._resumed,
            flush=self._teller.flush,
            abandon=self._abandon,
            tidy=lambda: self._journal.forget(options.journal_keep),
            heartbeat_interval=options.heartbeat_interval,
            output_interval=options.output_interval,
            grace=options.kill_grace,
        )
        self._timers = Timers(self._slots, duties)
        trust = self._trust
        self._consumers = [
            BatchConsumer(
                self._transport,
                [queue],
                handle,
                name=name,
                batch=batch,
                verifier=check,
                keep_dropped=False,
            )
            for queue, handle, name, batch, check in (
                (agent_queue(self.host), self._take, "agent-cases", options.slots, trust.cases),
                (
                    control_queue(self.host),
                    self._obey,
                    "agent-control",
                    CONTROL_BATCH,
                    trust.control,
                ),
            )
        ]

    def stop(self, timeout: float = 20.0) -> None:
        """End what runs, report it, say goodbye.

        What waits for a slot is forgotten: the conductor resends it after the next start.

        :param timeout: seconds that this may take, about; beyond, methods are abandoned
        """
        self.alive = False
        until = time.monotonic() + timeout
        self._slots.shut()
        for consumer in self._consumers:
            consumer.stop(0)
        for consumer in self._consumers:
            consumer.join(max(0.0, until - time.monotonic()))
        with self._intake:
            for attempt in self._slots.drain():
                self._teller.forget(attempt)
            for attempt in self._slots.running():
                attempt.stop.set(Reason.AGENT_STOPPED)
        if not self._slots.end(max(0.1, until - time.monotonic() - LAST_WORDS)):
            for attempt in self._slots.running():
                self._abandon(attempt)
        self._timers.stop()
        self._signs.leave()
        if not self._reporter.stop(max(LAST_WORDS, until - time.monotonic())):
            LOG.warning("the broker is away; the next start of the agent reports what is left")
        self._close()

    # Commands: each handler runs in its consumer's thread.

    def _take(self, commands: list[Message]) -> None:
        """Journal attempts, then let them run; the broker is told after this returns."""
        if self._timers.paused:
            # The broker has given up this connection, and the conductor perhaps this host; what
            # is still in the pipe is as old as the pause was long.
            raise Unavailable("this agent was stopped for a while")
        runs = [c for c in commands if isinstance(c, RunCase) and self._is_mine(c)]
        runs = self._trust.for_this_agent(runs, self._state.agent)
        runs = [run for run in runs if self._is_of_this_session(run)]
        if not self._slots.room(self._options.max_waiting, ROOM_WAIT):
            raise Unavailable(f"{self._options.max_waiting} cases wait here already")
        with self._intake:
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

    def _admit(self, run: RunCase, verdict: str) -> None:
        if verdict == "refused":
            self._teller.refuse(
                run, Ending(Result.CANCELLED, Reason.CANCELLED, "it was cancelled before it came")
            )
        elif verdict == "new":
            attempt = Attempt(run, self._options.max_output)
            try:
                self._slots.submit(attempt)
            except CannotStart as error:
                self._teller.settle(attempt, Ending(Result.ERROR, Reason.CANNOT_START, str(error)))
        else:
            LOG.debug("attempt %s came again (%s)", run.attempt, verdict)
            if (waiting := self._slots.waits(run.attempt)) is not None:
                waiting.heard = time.monotonic()

    def _obey(self, commands: list[Message]) -> None:
        for command in commands:
            if isinstance(command, CancelCase) and self._is_mine(command):
                self._cancel(command)
            elif isinstance(command, Introduce) and command.host == self.host:
                self._introduce()
            elif isinstance(command, Welcome) and command.agent == self._state.agent:
                self._trust.welcomed(command)

    def _resumed(self) -> None:
        self._signs.lost_contact()
        self._introduce()

    def _introduce(self) -> None:
        self._signs.announce()

    def _cancel(self, command: CancelCase) -> None:
        cancelled = Ending(Result.CANCELLED, Reason.CANCELLED, "it was cancelled before it ran")
        with self._intake:
            waiting = self._slots.withdraw(command.attempt)
            if waiting is not None:
                self._teller.settle(waiting, cancelled)
            elif running := self._slots.running(command.attempt):
                running[0].stop.set(Reason.CANCELLED)
            elif self._journal.refuse(command) == "refused":
                self._teller.refuse(command, cancelled)

    def _is_mine(self, command: RunCase | CancelCase) -> bool:
        if command.host != self.host:
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

    # Attempts: in the thread of their slot.

    def _run(self, runner: Runner, attempt: Attempt) -> None:
        if time.monotonic() - attempt.heard > self._options.resend_expiry:
            LOG.warning("attempt %s is too old to start; it may be resent", attempt.id)
            self._teller.forget(attempt)
            return
        self._timers.started()
        runner.run(attempt)

    # Duties: in the timers' thread.

    def _abandon(self, attempt: Attempt) -> None:
        """Report an attempt whose method does not come back, and end its processes."""
        ending = stopped(attempt)
        if ending is None or attempt.run is None or not attempt.settle():
            return
        LOG.error("the method of case %s does not come back", attempt.command.case)
        ended = attempt.run.tree.end(0)
        attempt.run.tree.close()
        detail = f"{ending.detail}; the method did not come back and its thread was abandoned"
        ending = Ending(ending.result, ending.reason, detail)
        self._teller.report(attempt, with_remains(ending, None, ended))
        self._slots.abandon(attempt)
