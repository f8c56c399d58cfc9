"""From a waiting row to a command in a host's queue."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from oslo_config import cfg
from oslo_log import log

from labapi.case import Result, State
from labapi.conductor import events
from labapi.conductor.claims import Claimed
from labapi.conductor.giving import Giving
from labapi.conductor.meters import Meters
from labapi.conductor.placing import Placed, Placing
from labapi.db import hosts as host_queries
from labapi.db import queue, removal, testcases
from labapi.db.session import Database, Record
from labapi.exceptions import BrokerUnavailable
from labapi.rpc import signing
from labapi.rpc.messages import CancelCase, CaseChanged, Message, RunCase, Wake
from labapi.rpc.publisher import Envelope, Publisher, announcements
from labapi.rpc.transport import agent_key, control_key
from labapi.servicegroup.driver import Liveness

LOG = log.getLogger(__name__)

# What commands are made of: a case that was just claimed, or a row.
Command = Claimed | Record


class Dispatcher:
    """Gives waiting cases to hosts that are up and have room, and tells these.

    A claimed case whose command may have been lost is sent again with the same attempt, until its
    agent says that it has begun; the agent runs an attempt once, however often it is sent.

    :ivar hosts: what it knows of all hosts
    :ivar giving: adds cases
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        publisher: Publisher,
        liveness: Liveness,
        meters: Meters | None = None,
    ) -> None:
        self._meters = meters or Meters()
        self._conf = conf.conductor
        self.liveness = liveness
        self._placing = Placing(conf, database, liveness, self._obeys)
        self.hosts = self._placing.manager
        self.giving = Giving(conf, liveness, self._obeys)
        self._patience: float = conf.scheduler.patience
        self._database = database
        self._publisher = publisher

    def handle(self, messages: list[Message]) -> None:
        """Work off hints of the API."""
        wakes = [message for message in messages if isinstance(message, Wake)]
        self.send_given(case for wake in wakes for case in wake.given)
        hosts = {host for wake in wakes for host in wake.hosts}
        self.dispatch(hosts, unplaced=any(wake.unplaced for wake in wakes))
        self.cancel({case for wake in wakes for case in wake.cancelled})

    def send_given(self, cases: Iterable[str]) -> None:
        """Send cases that the API gave to their hosts as it made them.

        What is sent, and signed, is what the database says; a hint may come from anywhere.
        """
        wanted = list(cases)
        if wanted:
            rows = self._database.read(queue.given, wanted)
            self._placing.manager.count(Counter(row.host for row in rows))
            self._send_first(rows, {row.host: row for row in rows})

    def begin(self, placed: Placed) -> None:
        """Send cases that were given to their hosts as they were added here."""
        self.hosts.count(Counter(case.host for case in placed.cases))
        self._tell(placed)

    def dispatch(self, hosts: Iterable[str], *, unplaced: bool = False) -> None:
        """Claim what waits for these hosts, as far as they have room, and send it.

        Cases that name no host are claimed with them while there are any.

        :param unplaced: look whether there are any
        """
        now = datetime.datetime.now(datetime.UTC)
        for placed in self._placing.place(set(hosts), now, unplaced=unplaced):
            self._tell(placed)

    def freed(self, hosts: Mapping[str, int], unplaced: bool) -> None:
        """Fill the room of hosts on which so many cases have ended.

        :param unplaced: one of them goes to another host
        """
        if hosts:
            self._placing.manager.count({host: -ended for host, ended in hosts.items()})
            self.dispatch(hosts, unplaced=unplaced)

    def sweep(self) -> None:
        """Claim all that waits and can be claimed, whatever was said of it, and send it."""
        now = datetime.datetime.now(datetime.UTC)
        waiting = self._database.read(queue.waiting_hosts)
        for placed in self._placing.sweep([row.host for row in waiting if row.listed], now):
            self._tell(placed)
        for host in [row.host for row in waiting if not row.listed]:
            # A plan goes on after its host was removed; a case may be made at that moment.
            while ended := self._database.write(removal.end_unlisted, host, now):
                LOG.warning("%d cases of %s ended: it is off the list of hosts", len(ended), host)
                self._tell(Placed(ended=ended))

    def _obeys(self, host: Record) -> bool:
        return signing.trusts(host.trusted_keys, signing.key_of(self._publisher.signer))

    def _tell(self, placed: Placed) -> None:
        self._send_first(placed.cases, placed.hosts)
        ended = [
            CaseChanged(case=case, state=State.FINISHED, result=Result.ERROR)
            for case in placed.ended
        ]
        events.announce(self._publisher, ended)

    def arrived(self, hosts: Iterable[str]) -> None:
        """Resend what hosts that announce themselves have not begun, and send what waits."""
        wanted = set(hosts)
        if wanted:
            now = datetime.datetime.now(datetime.UTC)
            unbegun = self._database.read(queue.unbegun, wanted)
            self.resend(self._database.write(queue.resend, unbegun, now))
            self._placing.manager.expire()
            self.dispatch(wanted)

    def resend(self, cases: Sequence[Record]) -> None:
        """Send the commands of claimed cases again.

        A command that no queue takes now may have reached its agent earlier: its case is kept.
        """
        if cases:
            self._meters.resent(len(cases))
            self._send(
                cases, self._database.read(host_queries.known, {case.host for case in cases})
            )

    def _send_first(self, cases: Sequence[Command], hosts: Mapping[str, Record]) -> None:
        running = [CaseChanged(case=case.uuid, state=State.RUNNING) for case in cases]
        if nowhere := self._send(cases, hosts, announcements(running)):
            why = "the host's queue does not exist; its agent never connected to this broker"
            self.release(nowhere, why)

    def release(self, cases: Mapping[str, str], why: str) -> None:
        """Let cases wait again that certainly no agent got, ``{attempt: case}``."""
        self._database.write(queue.release, cases, why)
        self._placing.manager.expire()  # there they count as given
        changes = [CaseChanged(case=case, state=State.QUEUED) for case in cases.values()]
        events.announce(self._publisher, changes)

    def _send(
        self, cases: Sequence[Command], hosts: Mapping[str, Record], news: Sequence[Envelope] = ()
    ) -> dict[str, str]:
        """Send commands, and news before them; return what no queue took, ``{attempt: case}``.

        News that came after them could be overtaken by those of a case's end.
        """
        if not cases:
            return {}
        envelopes = [*news, *(self._command(case, hosts.get(case.host)) for case in cases)]
        try:
            unroutable = self._publisher.publish(envelopes)
        except BrokerUnavailable as error:
            LOG.log(error.level, "%d cases will be resent: %s", len(cases), error)
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
        if not envelopes:
            return
        try:
            self._publisher.publish(envelopes)
        except BrokerUnavailable as error:
            LOG.log(error.level, "%d cases will be told again to end: %s", len(envelopes), error)

    def _command(self, case: Command, host: Record | None) -> Envelope:
        age = (datetime.datetime.now(datetime.UTC) - case.created_at).total_seconds()
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
                patience=max(0.0, self._patience - age),
                request_id=case.request_id,
            ),
            agent_key(case.host),
            # No agent finds hours-old commands: what was not taken in time is resent.
            expires=self._conf.resend_interval,
            mandatory=True,
        )
