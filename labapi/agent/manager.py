"""The agent of one lab machine, put together."""

from __future__ import annotations

import contextlib
import threading
import time

from oslo_config import cfg
from oslo_log import log

from labapi.agent import meters
from labapi.agent.attempts.attempt import Attempt, Ending
from labapi.agent.attempts.journal import Journal
from labapi.agent.attempts.runner import Runner, stopped, with_remains
from labapi.agent.attempts.slots import Slots
from labapi.agent.catalogue import Catalogue
from labapi.agent.intake import Intake
from labapi.agent.link import lease_keys
from labapi.agent.link.link import Link
from labapi.agent.link.reading import Reading
from labapi.agent.link.reporter import Reporter
from labapi.agent.link.signs import SignsOfLife
from labapi.agent.link.teller import Teller
from labapi.agent.link.trust import Trust
from labapi.agent.meters import Numbers
from labapi.agent.plugins.run import Surroundings
from labapi.agent.processes import cgroup, limits
from labapi.agent.processes.children import CHILDREN
from labapi.agent.recovery import recover
from labapi.agent.state import StateFolder
from labapi.agent.timers import Duties, Timers
from labapi.case import Reason
from labapi.rpc.transport import Transport, agent_queue, control_queue

LOG = log.getLogger(__name__)

CONTROL_BATCH = 50  # messages
LOOK = 0.2  # seconds between looks, while running cases are waited for, whether to hurry
LAST_WORDS = 1.0  # seconds of the time for stopping that are kept for sending reports


class Agent:
    """Takes commands for one host, runs them and reports.

    :param conf: configuration with the ``[agent]`` group
    :param transport: how to reach the broker
    :ivar alive: it is started and not stopped
    """

    def __init__(self, conf: cfg.ConfigOpts, transport: Transport) -> None:
        self._options = conf.agent
        self._resend_expiry: float = conf.agent.resend_expiry
        self._state_path: str = conf.state_path
        self._transport = transport
        self.host: str = conf.agent.host
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
        for thread in (self._link, self._timers):
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
        numbers = Numbers(self._slots.counts, self._teller.ended, self._reporter.unsent)
        if (page := meters.page(options, numbers)) is not None:
            page.start()
            opened.callback(page.stop)

    def _assemble(self) -> None:
        options = self._options
        self._reporter = Reporter(
            self.host,
            wake=lambda: self._link.wake(),
            confirmed=lambda reports: self._teller.confirmed(reports),
            lost=lambda: self._signs.lost_contact(),
            back=lambda: self._signs.announce(),
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
            keys=lease_keys.load(options, self._state.path),
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
        self._intake = Intake(
            options,
            self._state.agent,
            journal=self._journal,
            slots=self._slots,
            timers=self._timers,
            signs=self._signs,
            teller=self._teller,
            trust=self._trust,
        )
        self._trust.answer_unknown(self._intake.distrust)
        self._connect(options.slots, options.max_waiting)

    def _connect(self, slots: int, max_waiting: int) -> None:
        """Make what reads the two queues, and the link."""
        self._cases = Reading(
            "agent-cases",
            agent_queue(self.host),
            self._intake.take,
            batch=slots,
            verifier=self._trust.cases,
            alone=False,
            ready=lambda: self._slots.room(max_waiting),
        )
        self._control = Reading(
            "agent-control",
            control_queue(self.host),
            self._intake.obey,
            batch=CONTROL_BATCH,
            verifier=self._trust.control,
            alone=True,
        )
        # Control first: cases are acknowledged with all that came before them.
        self._link = Link(self._transport, [self._control, self._cases], self._reporter)

    @property
    def plugins(self) -> list[str]:
        """The names of the plugins that it has loaded."""
        return list(self._catalogue.described())

    def reload_keys(self) -> None:
        """Read the keys of the conductors again, and tell the conductors which these are."""
        if self._trust.reload():
            self._signs.announce()

    def drain(self, timeout: float, hurry: threading.Event) -> None:
        """Take no more cases, and let those that run end.

        What waits for a slot is forgotten: the conductor resends it after the next start.

        :param timeout: seconds that they have to end
        :param hurry: ends the wait
        """
        if timeout <= 0:
            return
        self._link.stop_reading(self._cases, LAST_WORDS)
        self._slots.shut()
        self._intake.halt(None)
        self._signs.stop_soon()
        until = time.monotonic() + timeout
        if running := len(self._slots.running()):
            LOG.info("this agent stops when its running cases have ended: %d", running)
        while time.monotonic() < until and not hurry.is_set() and not self._slots.end(LOOK):
            pass

    def stop(self, timeout: float = 20.0) -> None:
        """End what runs, report it, say goodbye.

        What waits for a slot is forgotten: the conductor resends it after the next start.

        :param timeout: seconds that this may take, about; beyond, methods are abandoned
        """
        self.alive = False
        until = time.monotonic() + timeout
        self._slots.shut()
        for reading in (self._cases, self._control):
            self._link.stop_reading(reading, max(0.0, until - time.monotonic()))
        self._intake.halt(Reason.AGENT_STOPPED)
        if not self._slots.end(max(0.1, until - time.monotonic() - LAST_WORDS)):
            for attempt in self._slots.running():
                self._abandon(attempt)
        self._timers.stop()
        self._signs.leave()
        if not self._link.stop(max(LAST_WORDS, until - time.monotonic())):
            LOG.warning(
                "the broker did not take all reports; the next start of the agent sends the rest"
            )
        self._close()

    def _resumed(self) -> None:
        self._signs.lost_contact()
        self._signs.announce()

    # Attempts: in the thread of their slot.

    def _run(self, runner: Runner, attempt: Attempt) -> None:
        if time.monotonic() - attempt.heard > self._resend_expiry:
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
