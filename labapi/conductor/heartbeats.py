"""From heartbeats to "this host is up".

Ten thousand hosts are a thousand heartbeats a second. What changes with every one of them is the
time at which it was heard, and a whole batch of them shares one: one statement writes it. Who sent
it, and what it tells of the machine, is looked at closely now and then (``facts_interval``), when
something else than a heartbeat comes, and always while there are few hosts.

A host belongs to the agent that announced it first, known by the UUID in its state folder. Another
agent that uses the name (a machine that was installed anew, or two machines with one name) is
refused until an operator accepts it: it is told so, and what it says changes nothing.
"""

from __future__ import annotations

import datetime
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from oslo_config import cfg
from oslo_log import log
from sqlalchemy import Connection

from labapi.case import Reason, Result
from labapi.conductor import events, forgotten, lease_keys, orders, welcome
from labapi.conductor.meters import Meters
from labapi.conductor.trust import Distrust
from labapi.db import attempts, hosts, services
from labapi.db.session import Database, Record
from labapi.exceptions import BrokerUnavailable
from labapi.rpc import signing
from labapi.rpc.messages import Announce, Goodbye, Heartbeat, Introduce, Message
from labapi.rpc.publisher import Envelope, Publisher
from labapi.rpc.tally import LOG_INTERVAL, Tally
from labapi.rpc.transport import HOST_NAME, control_key
from labapi.servicegroup.driver import Liveness

LOG = log.getLogger(__name__)

MAX_ID = 36  # characters of an agent's UUID
FEW = 100  # signs in a batch, up to which each of them is looked at closely
MAX_FACTS = 8192  # bytes of JSON; an agent that tells more is up, but its facts are not kept

Sign = Announce | Heartbeat | Goodbye
Facts = dict[str, Any]


@dataclass(slots=True)
class _Known:
    """What this conductor remembers of a host.

    :ivar service: ``services.id`` of its agent
    :ivar agent: UUID of the agent that the host belongs to
    :ivar session: as its agent announced it
    :ivar until: monotonic time at which to look closely again
    """

    service: int
    agent: str
    session: str | None
    until: float


class _Heard(NamedTuple):
    """What a batch of signs has come to.

    :ivar signs: those that count
    :ivar refused: those of agents that their hosts do not belong to
    :ivar known: the hosts among them that are known
    :ivar lost: what became of cases that were given up
    :ivar complete: all services are there that were to be stamped
    """

    signs: list[Sign]
    refused: list[Sign]
    known: dict[str, Record]
    lost: attempts.Lost
    complete: bool


class Heartbeats:
    """Takes in signs of life, a batch in one transaction, stamped with this conductor's clock.

    :param arrived: called with the names of hosts that announced themselves
    :param guarded: False to let any agent take over any host
    :ivar distrust: which hosts refuse what is signed here
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        publisher: Publisher,
        arrived: Callable[[Iterable[str]], None],
        *,
        liveness: Liveness,
        guarded: bool = True,
        meters: Meters | None = None,
    ) -> None:
        self._meters = meters or Meters()
        self._facts_interval: float = conf.conductor.facts_interval
        self._max_attempts: int = conf.conductor.max_attempts
        self._database = database
        self._publisher = publisher
        self._arrived = arrived
        self._liveness = liveness
        self._guarded = guarded
        self._known: dict[str, _Known] = {}
        self._disputed: dict[str, tuple[str, float]] = {}
        self._bound = orders.Bound()
        self._talkative = Tally()
        self.distrust = Distrust()

    def handle(self, messages: list[Message]) -> None:
        """Write a batch down; ask hosts that nobody knows to introduce themselves."""
        signs = [
            message
            for message in messages
            if isinstance(message, Sign)
            and HOST_NAME.fullmatch(message.host)
            and 0 < len(message.agent) <= MAX_ID
        ]
        if not signs:
            return
        now = datetime.datetime.now(datetime.UTC)
        usual = self._usual(signs)
        ids = [self._known[host].service for host in usual]
        close = [sign for sign in signs if sign.host not in usual]
        heard = self._database.write(self._apply, ids, close, now)
        close = heard.signs
        self._liveness.heard(usual | {sign.host for sign in close}, now)
        if not heard.complete:
            self._known.clear()  # somebody removed hosts: look at everything once
        self._remember(heard.known, {sign.host for sign in close if isinstance(sign, Heartbeat)})
        announced = {s.host: s.trusted_keys for s in close if isinstance(s, Announce)}
        self.distrust.note(announced, signing.key_of(self._publisher.signer))
        self._answer(close, heard.refused, _strangers(close, heard.known))
        self._meters.ended(Result.ERROR, Reason.AGENT_LOST, len(heard.lost.ended))
        events.announce(self._publisher, events.of_lost(heard.lost))
        refused = {sign.host for sign in heard.refused}
        beats = [s for s in signs if isinstance(s, Heartbeat) and s.host not in refused]
        stale = orders.stale(self._database, beats)
        orders.end(self._publisher, self._bound.keep(stale))
        self._send(lease_keys.corrections(self._database, beats, now))
        self._arrived(announced)

    def _usual(self, signs: list[Sign]) -> set[str]:
        """Return the hosts that only go on as before."""
        if len(signs) <= FEW:
            return set()
        now = time.monotonic()
        usual: set[str] = set()
        other: set[str] = set()
        for sign in signs:
            known = self._known.get(sign.host)
            goes_on = (
                known is not None
                and isinstance(sign, Heartbeat)
                and (known.agent, known.session) == (sign.agent, sign.session)
                and now < known.until
                and sign.challenge is None
                and not sign.stopping
            )
            (usual if goes_on else other).add(sign.host)
        return usual - other

    def _apply(
        self, connection: Connection, ids: list[int], signs: list[Sign], now: datetime.datetime
    ) -> _Heard:
        complete = services.touch(connection, ids, now) if ids else True
        before = hosts.known(connection, {sign.host for sign in signs}) if signs else {}
        signs, refused = self._divide(signs, before)
        hosts.dispute(connection, {sign.host: sign.agent for sign in refused})
        alive: dict[str, Facts | None] = {}
        gone: dict[str, Facts | None] = {}
        for sign in signs:
            # The last word of a host counts: an agent that stopped and started again is here.
            here, away = (gone, alive) if _leaves(sign) else (alive, gone)
            here[sign.host] = self._facts(sign, now) or here.get(sign.host)
            away.pop(sign.host, None)
        # Of several announcements in one batch, a host's last one counts.
        announced = {sign.host: sign for sign in signs if isinstance(sign, Announce)}
        lost = forgotten.lose(connection, before, announced, now, max_attempts=self._max_attempts)
        says = {host: said(sign) for host, sign in announced.items()}
        # Another conductor may have heard another agent since the hosts were read.
        hosts.announce(connection, says, now, guarded=self._guarded)
        services.beat(connection, services.AGENT, alive, now)
        services.beat(connection, services.AGENT, gone, now, stopped=True)
        known = hosts.known(connection, alive) if alive else {}
        return _Heard(signs, refused, known, lost, complete)

    def _divide(
        self, signs: list[Sign], known: Mapping[str, Record]
    ) -> tuple[list[Sign], list[Sign]]:
        """Return the signs of agents that their hosts belong to, and those of others."""
        if not self._guarded:
            return signs, []
        owners = {host: row.agent for host, row in known.items()}
        divided: tuple[list[Sign], list[Sign]] = ([], [])
        for sign in signs:
            if isinstance(sign, Announce):
                owners.setdefault(sign.host, sign.agent)
            divided[owners.get(sign.host, sign.agent) != sign.agent].append(sign)
        return divided

    def _remember(self, known: dict[str, Any], told: set[str]) -> None:
        now = time.monotonic()
        for row in known.values():
            # Spread, so that hosts that came together are not looked at together for ever.
            pause = self._facts_interval * random.uniform(0.5, 1.0)  # noqa: S311
            until = now + pause if row.host in told else now
            self._known[row.host] = _Known(row.id, row.agent, row.session, until)

    def _facts(self, sign: Sign, now: datetime.datetime) -> Facts | None:
        """Return what a sign tells of the machine, with how far its clock is from ours, in seconds.

        The skew is that of the moment of writing, so it is low by the time on the way: at most
        ``heartbeat_pace`` and what the broker takes.
        """
        if isinstance(sign, Goodbye) or sign.clock is None:
            return None
        skew = {"clock_skew": round(sign.clock - now.timestamp(), 1) + 0.0}  # never -0.0
        if len(msgspec.json.encode(sign.facts)) > MAX_FACTS:
            if self._talkative.add("too many facts"):
                LOG.warning("host %s tells more than %d bytes of facts", sign.host, MAX_FACTS)
            return skew
        return {**sign.facts, **skew}

    def _note_dispute(self, sign: Sign) -> None:
        told, due = self._disputed.get(sign.host, ("", 0.0))
        now = time.monotonic()
        if told != sign.agent and now >= due:
            self._disputed[sign.host] = (sign.agent, now + LOG_INTERVAL)
            LOG.error(
                "host %s belongs to another agent; the one that uses its name now is refused"
                " until an operator says: labapi-manage agent accept %s",
                sign.host,
                sign.host,
            )

    def _answer(self, signs: list[Sign], refused: list[Sign], strangers: list[str]) -> None:
        """Ask strangers who they are; answer challenges; tell who is refused."""
        envelopes = [
            Envelope(Introduce(host=host), control_key(host), expires=60.0) for host in strangers
        ]
        # An agent waits for the answer to its last challenge only.
        latest = {sign.host: sign for sign in refused}
        for sign in latest.values():
            self._note_dispute(sign)
            envelopes.append(welcome.to(sign, accepted=False))
        asking = {sign.host: sign for sign in signs if welcome.challenge(sign)}
        envelopes += [welcome.to(sign) for sign in asking.values()]
        self._send(envelopes)

    def _send(self, envelopes: list[Envelope]) -> None:
        try:
            if envelopes:
                self._publisher.publish(envelopes)
        except BrokerUnavailable as error:
            LOG.log(error.level, "%d hosts were not answered: %s", len(envelopes), error)


def _strangers(signs: list[Sign], known: Mapping[str, Record]) -> list[str]:
    """Return the hosts that have to introduce themselves: unknown, or lately without contact."""
    introduced = {sign.host for sign in signs if isinstance(sign, Announce)}
    return sorted(
        {
            sign.host
            for sign in signs
            if isinstance(sign, Heartbeat)
            and not sign.stopping
            and sign.host not in introduced
            and (sign.host not in known or known[sign.host].session != sign.session)
        }
    )


def _leaves(sign: Sign) -> bool:
    """Say whether a host is to be given nothing more: its agent has stopped, or soon will."""
    return isinstance(sign, Goodbye) or (isinstance(sign, Heartbeat) and sign.stopping)


def said(announced: Announce) -> dict[str, Any]:
    """Return what a host says of itself, by the columns that it becomes."""
    return {
        "address": announced.address,
        "agent": announced.agent,
        "release": announced.release,
        "slots": announced.slots,
        "plugins": announced.plugins,
        "journal": announced.journal,
        "trusted_keys": announced.trusted_keys,
        "session": announced.session,
    }
