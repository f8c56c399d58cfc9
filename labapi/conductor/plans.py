"""Moves test plans on, as soon as something of them ends.

Any number of conductors do it, and may be killed at any point: what is to be done follows from the
database, and each move is one transaction (:mod:`labapi.conductor.advance`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

from oslo_config import cfg
from oslo_log import log

from labapi.case import State
from labapi.conductor import events
from labapi.conductor.advance import Move, advance
from labapi.conductor.dispatch import Dispatcher
from labapi.conductor.meters import Meters
from labapi.conductor.placing import Placed
from labapi.db import plans as queries
from labapi.db.session import Database
from labapi.rpc.messages import CaseChanged, Message, Wake
from labapi.rpc.publisher import Publisher
from labapi.trouble import Trouble

LOG = log.getLogger(__name__)

# Seconds in which what ends while others of its turn still run is gathered, and settled together.
PACE = 0.2


class Plans(threading.Thread):
    """Moves on plans of which something has ended.

    It is told of most, and looks for the others every ``plan_interval`` seconds.

    :param conf: configuration with the ``[conductor]`` group
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        publisher: Publisher,
        dispatcher: Dispatcher,
        meters: Meters | None = None,
    ) -> None:
        super().__init__(name="plans", daemon=True)
        self._window: int = conf.conductor.plan_window
        self._interval: float = conf.conductor.plan_interval
        self._database = database
        self._publisher = publisher
        self._dispatcher = dispatcher
        self._meters = meters or Meters()
        self._trouble = Trouble(LOG, "plans: moving one on")
        self._changed = threading.Condition()
        self._due: dict[str, float] = {}  # plan → when it is to be moved on, as monotonic() has it
        self._running: dict[str, set[str]] = {}  # plan → cases of it that were seen to run
        self._look_at = time.monotonic()
        self._stopping = False

    def stop(self, timeout: float = 10.0) -> None:
        """End after the move at hand; wait for it at most ``timeout`` seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self.join(timeout)

    def handle(self, messages: Sequence[Message]) -> None:
        """Take note of what the API tells of plans."""
        self.wake(
            plan for message in messages if isinstance(message, Wake) for plan in message.plans
        )

    def wake(self, plans: Iterable[str]) -> None:
        """Take note that plans can be moved on."""
        due = dict.fromkeys(plans, time.monotonic())
        if not due:
            return
        with self._changed:
            self._due.update(due)
            self._changed.notify()

    def ended(self, cases: Sequence[tuple[str, str]]) -> None:
        """Take note that cases have ended: ``(plan, case)`` each."""
        if not cases:
            return
        now = time.monotonic()
        with self._changed:
            for plan, case in cases:
                running = self._running.get(plan, set())
                # A case that is not known was begun by another conductor: what is known is old.
                waits = case in running and len(running) > 1
                running.discard(case)
                due = now + PACE if waits else now
                self._due[plan] = min(due, self._due.get(plan, due))
            self._changed.notify()

    def run(self) -> None:
        """Move plans on until stopped; the next one comes, whatever one met."""
        while (plan := self._take()) is not None:
            with self._trouble.told():
                if plan:
                    self.advance(plan)
                else:
                    self.look()

    def _take(self) -> str | None:
        """Wait for something to do; return a plan, "" for a look at all, and None at the end."""
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                plan = min(self._due, key=self._due.__getitem__, default="")
                if plan and self._due[plan] <= now:
                    del self._due[plan]
                    return plan
                if self._look_at <= now:
                    self._look_at = now + self._interval
                    return ""
                self._changed.wait(min(self._look_at, self._due.get(plan, self._look_at)) - now)
            return None

    def look(self) -> None:
        """Move on all plans of which something has ended, or of which nothing runs."""
        self.wake(self._database.read(queries.due))

    def advance(self, plan: str) -> None:
        """Move a plan on as far as it goes now."""
        move = self._database.write(advance, plan, self._dispatcher.giving, self._window)
        with self._changed:
            if move is None or move.finished:
                self._running.pop(plan, None)
            else:
                self._running[plan] = move.running
        if move is not None:
            self._meters.moved()
            self._tell(plan, move)

    def _tell(self, plan: str, move: Move) -> None:
        if move.finished:
            LOG.info("plan %s is finished: %s", plan, move.result or "nothing of it has run")
        added = move.added
        waiting = [CaseChanged(case=case["uuid"], state=State.QUEUED) for case in added.waiting]
        events.announce(self._publisher, waiting)
        self._dispatcher.begin(Placed(added.given, added.hosts))
        if added.waiting:
            hosts = {case["host"] for case in added.waiting}
            self._dispatcher.dispatch(hosts - {None}, unplaced=None in hosts)
