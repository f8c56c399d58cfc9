"""Which waiting cases get what is free.

Where to look is decided with what this conductor knows of all hosts, and made sure of by the claim
(:mod:`labapi.conductor.claims`): of several conductors that choose the same slot one gets it, and
the others choose anew.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from oslo_config import cfg
from oslo_log import log

from labapi.case import Reason, Result, State
from labapi.conductor.claims import Choice, Claimed, Claimer
from labapi.db import attempts, leases, queue
from labapi.db.session import Database, Record
from labapi.rpc.tally import Tally
from labapi.scheduler import driver, fair, spec
from labapi.scheduler.driver import Explanation
from labapi.scheduler.filters import access
from labapi.scheduler.host_manager import EPOCH, HostManager
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.requests import Requests, shape
from labapi.scheduler.room import Room
from labapi.scheduler.spec import OnNoHost, RequestSpec
from labapi.servicegroup.driver import Liveness

LOG = log.getLogger(__name__)

ROUNDS = 3  # of choosing, as long as others are faster
TOGETHER = 100  # hosts that are looked at, and locked, by one transaction
PAGES = 100  # of cases without a host that one sweep looks at
ANY_ROOM = 1_000_000  # cases beyond its slots: whether a host is full is not asked
MAX_DETAIL = 2000  # characters
JUST_NOW = datetime.timedelta(seconds=1)


@dataclass
class Placed:
    """What came of a look at waiting cases.

    :ivar hosts: ``agent`` and ``session`` of the hosts of the claimed cases, by name
    :ivar ended: UUIDs of cases that ended because there is no host for them
    """

    cases: list[Claimed] = field(default_factory=list)
    hosts: dict[str, Record] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)


class Nowhere(NamedTuple):
    """A case for which there is no host."""

    case: Record
    request: RequestSpec


class _End(NamedTuple):
    """How cases end for which there is no host."""

    reason: str
    detail: str


class Placing:
    """Claims waiting cases for hosts that have room, in a fair order; safe to use from threads.

    :param obeys: says of a row with ``trusted_keys`` whether the host obeys this conductor
    :ivar waits: cases that name no host may be waiting; sweeps put it right
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        liveness: Liveness,
        obeys: Callable[[Record], bool],
    ) -> None:
        self._database = database
        self._obeys = obeys
        self._room = Room(conf, liveness)
        self._fair = fair.rules(conf)
        self._driver = driver.load(conf)
        self.manager = HostManager(conf, database, liveness, obeys)
        self._claimer = Claimer(conf, database, liveness, self._driver, self.manager, obeys)
        self._broken = Tally()
        self.waits = True

    def place(
        self, hosts: Iterable[str], now: datetime.datetime, *, unplaced: bool = False
    ) -> Iterator[Placed]:
        """Claim cases that wait for hosts, and those that name none, as far as there is room.

        :param hosts: names of hosts that have room, or that cases wait for
        :param unplaced: look whether cases wait that name no host, even if none is known to
        """
        names = sorted(hosts)
        for start in range(0, len(names), TOGETHER):
            yield self._place(names[start : start + TOGETHER], now, unplaced=unplaced)
        if not names and (unplaced or self.waits):
            yield self._place([], now, unplaced=unplaced)

    def sweep(self, hosts: Iterable[str], now: datetime.datetime) -> Iterator[Placed]:
        """Do the same for all cases that wait, however many stand before them."""
        yield from self.place(hosts, now, unplaced=True)
        page = 1
        while self.waits and page < PAGES:
            cases = self._database.read(queue.unplaced, page)
            if not cases:
                return
            yield self._find_hosts(cases, {}, now)
            page += 1

    def _place(self, names: Sequence[str], now: datetime.datetime, *, unplaced: bool) -> Placed:
        named, room = self._named(names, now)
        if not unplaced and not self.waits:
            placed = Placed()
            readable = self._readable(named, now, placed)
            choices, _ = self._choose(readable, room, HostStates(), now)
            claims = self._claimer.claim(choices, now)
            return Placed(claims.cases, claims.hosts, placed.ended)
        others = self._database.read(queue.unplaced, 0)
        placed = self._find_hosts([*named, *others], room, now)
        gone = {*(case.uuid for case in placed.cases), *placed.ended}
        self.waits = any(case.uuid not in gone for case in others)
        return placed

    def _named(
        self, names: Sequence[str], now: datetime.datetime
    ) -> tuple[Sequence[Record], dict[str, int]]:
        """Return cases that wait for these hosts, and how much room the hosts have, by name."""
        rows = self._database.read(queue.demand, names) if names else ()
        room = {
            row.host: most for row in rows if self._obeys(row) and (most := self._room.of(row, now))
        }
        if not room:
            return (), {}
        return self._database.read(queue.waiting, room, max(room.values())), room

    def _find_hosts(
        self, cases: Sequence[Record], room: Mapping[str, int], now: datetime.datetime
    ) -> Placed:
        placed = Placed()
        cases = self._readable(cases, now, placed)
        since = EPOCH
        for _ in range(ROUNDS):
            with self.manager.hosts(now, since=since) as states:
                read_at = self.manager.read_at
                choices, nowhere = self._choose(cases, room, states, now)
                claims = self._claimer.claim(choices, now)
                ends = self._ends(nowhere, states, read_at)
            placed.cases += claims.cases
            placed.hosts |= claims.hosts
            self._end(ends, now, placed)
            again = [one.case for one in claims.refused if one.request is not None]
            newest = max((_asked(one, now) for one in nowhere), default=EPOCH)
            if read_at < newest and since < newest:
                # They came after the hosts were read.
                since = newest
                again += [one.case for one in nowhere if one.case.uuid not in placed.ended]
            if not again:
                break
            cases = again
        return placed

    def _readable(
        self, cases: Iterable[Record], now: datetime.datetime, placed: Placed
    ) -> list[Record]:
        """Return the cases that say where they may run; one that cannot be read ends as an error.

        It would fail at each look, and the others with it.
        """
        found: list[Record] = []
        ends: dict[_End, list[str]] = defaultdict(list)
        for case in cases:
            try:
                spec.read(case.placement)
            except msgspec.ValidationError as error:
                LOG.error("case %s ends: its placement cannot be read: %s", case.uuid, error)
                detail = f"what it asks of its host cannot be read: {error}"[:MAX_DETAIL]
                ends[_End(Reason.BAD_DATA, detail)].append(case.uuid)
            else:
                found.append(case)
        self._end(ends, now, placed)
        return found

    def _choose(
        self,
        cases: Sequence[Record],
        room: Mapping[str, int],
        states: HostStates,
        now: datetime.datetime,
    ) -> tuple[list[Choice], list[Nowhere]]:
        """Choose hosts for cases, in the order of fairness.

        :param room: how much room hosts have, by name
        :param states: among which hosts are chosen for the cases that name none
        """
        projects = {case.project_id for case in cases}
        usage = self._database.read(queue.usage) if len(projects) > 1 else {}
        left = dict(room)
        requests = Requests(self._database, cases)
        choices: list[Choice] = []
        nowhere: list[Nowhere] = []
        hopeless: set[bytes] = set()
        for case in fair.order(cases, usage, now, self._fair):
            if case.host is not None:
                if left.get(case.host, 0) > 0:
                    left[case.host] -= 1
                    choices.append(Choice(case, case.host, None))
                continue
            ahead = self._room.ahead if self._fair.is_overdue(case, now) else 0
            request = requests.of(case, ahead)
            alike = shape(request)
            chosen = None if alike in hopeless else self._select(request, states)
            if chosen is None:
                hopeless.add(alike)
                nowhere.append(Nowhere(case, request))
            else:
                requests.note(case, chosen)
                choices.append(Choice(case, chosen, request))
        return choices, nowhere

    def _select(self, request: RequestSpec, states: HostStates) -> str | None:
        """Return the name of the host for a case, which counts there as given from now on."""
        try:
            chosen = self._driver.select(request, states)
        except Exception:
            # A filter of somebody else may raise anything; the other cases do not wait for it.
            if so_far := self._broken.add("no decision"):
                LOG.exception("case %s waits: the driver failed (%d so far)", request.case, so_far)
            return None
        return chosen[0].host if chosen else None

    def _ends(
        self, nowhere: Iterable[Nowhere], states: HostStates, read_at: datetime.datetime
    ) -> dict[_End, list[str]]:
        """Return the cases that do not go on waiting, and how they end."""
        ends: dict[_End, list[str]] = defaultdict(list)
        explained: dict[bytes, str] = {}
        asked = {one.request.placement.lease for one in nowhere} - {None}
        over = self._database.read(leases.over, asked) if asked else set()
        others = {case for one in nowhere for case in one.request.placement.same_host_as}
        hostless = self._database.read(queue.hostless, others) if others else set()
        for one in nowhere:
            case, request = one
            if read_at < case.created_at:
                continue
            if request.placement.lease in over:
                detail = f"lease {request.placement.lease} has ended"
                ends[_End(Reason.NO_VALID_HOST, detail)].append(case.uuid)
            elif lost := hostless.intersection(request.placement.same_host_as):
                detail = f"case {min(lost)}, whose host it wants, has ended without one"
                ends[_End(Reason.NO_VALID_HOST, detail)].append(case.uuid)
            elif request.placement.on_no_host == OnNoHost.FAIL:
                alike = shape(request)
                if alike not in explained:
                    found = self._driver.explain(request, _visible(states, request))
                    explained[alike] = _told(found)
                ends[_End(Reason.NO_VALID_HOST, explained[alike])].append(case.uuid)
            elif request.tried and not self._fits_elsewhere(request, states):
                detail = f"{case.detail or 'it failed'}; no other host can take it"
                ends[_End(case.reason or Reason.NO_VALID_HOST, detail)].append(case.uuid)
        return ends

    def _fits_elsewhere(self, request: RequestSpec, states: HostStates) -> bool:
        """Say whether a host would take a case if it had room."""
        whatever_room = msgspec.structs.replace(request, ahead=ANY_ROOM)
        chosen = self._driver.select(whatever_room, states)
        for host in chosen:
            states.release(host)
        return bool(chosen)

    def _end(self, ends: Mapping[_End, list[str]], now: datetime.datetime, placed: Placed) -> None:
        for end, cases in ends.items():
            placed.ended += self._database.write(
                attempts.finish,
                cases,
                now,
                states=(State.QUEUED,),
                result=Result.ERROR,
                reason=end.reason,
                detail=end.detail,
            )


def _asked(one: Nowhere, now: datetime.datetime) -> datetime.datetime:
    """Return the time of which the hosts have to be known to say that there is none."""
    made: datetime.datetime = one.case.created_at
    return max(made, now - JUST_NOW) if one.request.tried else made


def _visible(states: HostStates, request: RequestSpec) -> HostStates:
    """Return the hosts that the client of a request may know of."""
    seen = [host for host in states if access.lets_in(host, request)]
    return states if len(seen) == len(states) else HostStates(seen)


def _told(explanation: Explanation) -> str:
    """Say for whom a case ends why there is no host for it."""
    if not explanation.turned_away:
        return "there is no host on the list"
    counts = [f"{asked} {count}" for asked, count in explanation.turned_away.items()]
    return f"there is no host for it now; turned away: {', '.join(counts)}"[:MAX_DETAIL]
