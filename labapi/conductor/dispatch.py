"""From a waiting row to a command in a host's queue."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence

from oslo_config import cfg
from oslo_log import log

from labapi.case import State
from labapi.conductor import events
from labapi.db import hosts as host_queries
from labapi.db import queue, testcases
from labapi.db.session import Database, Record
from labapi.exceptions import BrokerUnavailable
from labapi.rpc.messages import CancelCase, CaseChanged, Message, RunCase, Wake
from labapi.rpc.publisher import Envelope, Publisher, event
from labapi.rpc.transport import agent_key, control_key
from labapi.scheduler.room import Room
from labapi.servicegroup.driver import Liveness

LOG = log.getLogger(__name__)


class Dispatcher:
    """Gives waiting cases to hosts that are up and have room.

    A claimed case whose command may have been lost is sent again with the same attempt, until its
    agent says that it has begun; the agent runs an attempt once, however often it is sent.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        publisher: Publisher,
        liveness: Liveness,
    ) -> None:
        self._conf = conf.conductor
        self.liveness = liveness
        self._room = Room(conf, liveness)
        self._database = database
        self._publisher = publisher

    def handle(self, messages: list[Message]) -> None:
        """Work off hints of the API."""
        wakes = [message for message in messages if isinstance(message, Wake)]
        self.send_given(case for wake in wakes for case in wake.given)
        self.dispatch({host for wake in wakes for host in wake.hosts})
        self.cancel({case for wake in wakes for case in wake.cancelled})

    def send_given(self, cases: Iterable[str]) -> None:
        """Send cases that the API gave to their hosts as it made them.

        What is sent, and signed, is what the database says; a hint may come from anywhere.
        """
        wanted = list(cases)
        if wanted:
            rows = self._database.read(queue.given, wanted)
            self._send_first(rows, {row.host: row for row in rows})

    def dispatch(self, hosts: Iterable[str]) -> None:
        """Claim what waits for these hosts, as far as they have room, and send it."""
        wanted = set(hosts)
        if not wanted:
            return
        now = datetime.datetime.now(datetime.UTC)
        rows = self._database.read(queue.demand, wanted)
        free = {row.host: room for row in rows if (room := self._room.of(row, now))}
        if free:
            claimed = self._database.write(queue.claim, free, now)
            self._send_first(claimed, {row.host: row for row in rows})

    def arrived(self, hosts: Iterable[str]) -> None:
        """Resend what hosts that announce themselves have not begun, and send what waits."""
        wanted = set(hosts)
        if wanted:
            now = datetime.datetime.now(datetime.UTC)
            unbegun = self._database.read(queue.unbegun, wanted)
            self.resend(self._database.write(queue.resend, unbegun, now))
            self.dispatch(wanted)

    def resend(self, cases: Sequence[Record]) -> None:
        """Send the commands of claimed cases again.

        A command that no queue takes now may have reached its agent earlier: its case is kept.
        """
        if cases:
            self._send(
                cases, self._database.read(host_queries.known, {case.host for case in cases})
            )

    def _send_first(self, cases: Sequence[Record], hosts: Mapping[str, Record]) -> None:
        running = [event(CaseChanged(case=case.uuid, state=State.RUNNING)) for case in cases]
        if nowhere := self._send(cases, hosts, running):
            why = "the host's queue does not exist; its agent never connected to this broker"
            self.release(nowhere, why)

    def release(self, cases: Mapping[str, str], why: str) -> None:
        """Let cases wait again that certainly no agent got, ``{attempt: case}``."""
        self._database.write(queue.release, cases, why)
        changes = [CaseChanged(case=case, state=State.QUEUED) for case in cases.values()]
        events.announce(self._publisher, changes)

    def _send(
        self, cases: Sequence[Record], hosts: Mapping[str, Record], news: Sequence[Envelope] = ()
    ) -> dict[str, str]:
        """Send commands, and news with them; return what no queue took, ``{attempt: case}``."""
        if not cases:
            return {}
        envelopes = [self._command(case, hosts.get(case.host)) for case in cases]
        envelopes += news
        try:
            unroutable = self._publisher.publish(envelopes)
        except BrokerUnavailable as error:
            LOG.warning("%d cases will be resent: %s", len(cases), error)
            return {}
        commands = [envelope.message for envelope in unroutable]
        return {c.attempt: c.case for c in commands if isinstance(c, RunCase)}

    def cancel(self, cases: Iterable[str]) -> None:
        """Tell agents to end cases that are ``cancelling``."""
        rows = [self._database.read(testcases.get, case) for case in cases]
        envelopes = [
            Envelope(
                CancelCase(case=row.uuid, attempt=row.attempt, host=row.host),
                control_key(row.host),
                expires=self._conf.resend_interval,
            )
            for row in rows
            if row is not None and row.state == State.CANCELLING
        ]
        try:
            self._publisher.publish(envelopes)
        except BrokerUnavailable as error:
            LOG.warning("%d cases will be told again to end: %s", len(envelopes), error)

    def _command(self, case: Record, host: Record | None) -> Envelope:
        return Envelope(
            RunCase(
                case=case.uuid,
                attempt=case.attempt,
                host=case.host,
                agent=host.agent if host else None,
                session=host.session if host else None,
                plugin=case.plugin,
                method=case.method,
                parameters=case.parameters,
                timeout=case.timeout,
                rank=case.queue_rank,
                request_id=case.request_id,
            ),
            agent_key(case.host),
            # No agent finds hours-old commands: what was not taken in time is resent.
            expires=self._conf.resend_interval,
            mandatory=True,
        )
