"""Where a case could run, before it is made and while it waits; nothing is decided here."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from oslo_config import cfg

from labapi.api import host_guard
from labapi.api.explained import Explained
from labapi.api.never import check_ever
from labapi.api.placements import ALL, Asked, Placements
from labapi.api.request import Request
from labapi.db.session import Database
from labapi.exceptions import Conflict, InvalidInput
from labapi.scheduler.driver import Driver, Explanation
from labapi.scheduler.filters import access
from labapi.scheduler.host_manager import HostManager
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.spec import OnNoHost, Placement, RequestSpec


class Where:
    """Answers from the states of hosts, as far as the client of a request may see them.

    :param conf: configuration with the group ``[scheduler]``
    """

    def __init__(
        self, conf: cfg.ConfigOpts, database: Database, hosts: HostManager, scheduler: Driver
    ) -> None:
        self._most: int = conf.scheduler.max_shown
        self._hosts = hosts
        self._scheduler = scheduler
        self._explained = Explained(scheduler)
        self._placements = Placements(database)

    def asked(self, request: Request, body: Mapping[str, Any]) -> Asked:
        """Return what a body asks of a host, after checking that there ever was such a one.

        :raises InvalidInput: it cannot be used; the text says why
        :raises NotFound: it names something that is not there for this caller
        """
        asked = self._placements.read(request, body)
        if body.get("on_no_host") != OnNoHost.WAIT:
            self._check_ever(request, _spec(request, body, asked))
        return asked

    def leased(self, request: Request, body: Mapping[str, Any]) -> Placement:
        """Return what a body asks of the hosts of a lease, checked as :meth:`asked` does.

        :raises InvalidInput, NotFound: as with :meth:`asked`
        """
        asked = self._placements.read(request, body).placement
        self._check_ever(request, RequestSpec(placement=asked))
        return asked

    def problems(
        self, request: Request, wanted: Sequence[RequestSpec], until: float
    ) -> dict[int, InvalidInput]:
        """Return why no host has ever met some of many requests, by their index.

        :param until: the CPU time of this thread after which the rest is not looked at
        """
        found: dict[int, InvalidInput] = {}
        indexes: Iterable[int] = range(len(wanted))
        for fresh in (False, True):  # what is known of the hosts may be some seconds old
            with self.visible(request.environ, fresh=fresh) as states:
                found = {
                    index: problem
                    for index in indexes
                    if time.thread_time() < until
                    and (problem := _problem(wanted[index], states, self._scheduler))
                }
            indexes = list(found)
            if not indexes:
                break
        return found

    def _check_ever(self, request: Request, asked: RequestSpec) -> None:
        try:
            with self.visible(request.environ, fresh=False) as states:
                return check_ever(asked, states, self._scheduler)
        except InvalidInput:  # but what is known of the hosts may be some seconds old
            with self.visible(request.environ) as states:
                return check_ever(asked, states, self._scheduler)

    def every(self, request: Request, body: Mapping[str, Any]) -> list[str]:
        """Return the names of all hosts that can run what a body asks for, busy or not.

        :raises InvalidInput, NotFound: as with :meth:`asked`
        :raises Conflict: there is none at the moment
        """
        found = self._of_all(request, body)
        if not found.hosts:
            raise Conflict(f"hosts: none can run it at the moment; {_turned_away(found)}")
        return [state.host for state in sorted(found.hosts, key=lambda state: state.id)]

    def explained(
        self, request: Request, body: Mapping[str, Any], named: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Return where a case of this body could run now, and why not elsewhere.

        :param named: the names of the hosts that it is about; None: all
        :raises InvalidInput, NotFound: as with :meth:`asked`
        """
        if body.get("hosts") == ALL:
            return self._shown(self._of_all(request, body))
        asked = self.asked(request, body) if named is None else Asked(Placement())
        return self.shown(request, _spec(request, body, asked), named)

    def shown(
        self, request: Request, asked: RequestSpec, named: Iterable[str] | None
    ) -> dict[str, Any]:
        """Return where a case could run now, as :meth:`explained` does."""
        return self._shown(self.explain(request.environ, asked, named))

    def explain(
        self,
        environ: Mapping[str, Any],
        asked: RequestSpec,
        named: Iterable[str] | None = None,
    ) -> Explanation:
        """Return where a case could run now, of the hosts that this client may see.

        :param named: the names of the hosts that it is about; None: all
        :return: for reading only
        """
        with self._lent(environ) as (states, seen):
            if named is None:
                known = (self._hosts.read_at, states.changes)
                return self._explained.of(asked, states, seen, known)
            found = filter(None, map(states.named, named))
            visible = HostStates(host for host in found if seen is None or host.id in seen)
            return self._scheduler.explain(asked, visible)

    def free(
        self, request: Request, wanted: Mapping[str, str], states: HostStates
    ) -> list[HostState]:
        """Return those of some hosts that would be given a case of the caller now.

        :param wanted: the ``plugin`` and the ``method`` of the case, if they matter
        """
        asked = RequestSpec(
            plugin=wanted.get("plugin"),
            method=wanted.get("method"),
            project_id=request.context.project_id,
        )
        return self._scheduler.explain(asked, states).hosts

    @contextmanager
    def visible(self, environ: Mapping[str, Any], *, fresh: bool = True) -> Iterator[HostStates]:
        """Lend the states of the hosts that this client may see, for reading.

        :param fresh: they are read again if they may be
        """
        with self._lent(environ, fresh=fresh) as (states, seen):
            yield states if seen is None else HostStates(map(states.__getitem__, seen))

    @contextmanager
    def _lent(
        self, environ: Mapping[str, Any], *, fresh: bool = True
    ) -> Iterator[tuple[HostStates, Collection[int] | None]]:
        """Lend the states of all hosts, and the ids of those that this client may see."""
        now = datetime.datetime.now(datetime.UTC)
        with self._hosts.hosts(now, **({"since": now} if fresh else {})) as states:
            yield states, _seen(environ, states)

    def _of_all(self, request: Request, body: Mapping[str, Any]) -> Explanation:
        asked = self.asked(request, body)
        with self.visible(request.environ) as states:
            # A case waits for its host to have room: it matters only which hosts will do at all.
            idle = HostStates(dataclasses.replace(state, active=0) for state in states)
            return self._scheduler.explain(_spec(request, body, asked), idle)

    def _shown(self, found: Explanation) -> dict[str, Any]:
        return {
            "hosts": [
                {"id": state.uuid, "host": state.host, "free": max(0, state.free)}
                for state in found.hosts[: self._most]
            ],
            "count": len(found.hosts),
            "turned_away": found.turned_away,
            "nearest": None
            if found.nearest is None or found.hosts
            else {"host": found.nearest.host, "lacks": found.lacks},
        }


def _seen(environ: Mapping[str, Any], states: HostStates) -> Collection[int] | None:
    """Return the ids of the hosts that the client may see; None: all of them."""
    seen: Collection[int]
    if not host_guard.tells(environ):
        seen = {state.id for state in states if not host_guard.hidden(environ, state.metadata)}
    else:
        client, rules = host_guard.access(environ)
        if rules is None:
            return None
        # Which hosts they are is kept, and found out anew for those that have changed.
        guard = RequestSpec(placement=Placement(client=client, access=rules))
        seen = states.all_where(("seen", client, rules), lambda state: access.lets_in(state, guard))
    return None if len(seen) == len(states) else seen


def _problem(asked: RequestSpec, states: HostStates, scheduler: Driver) -> InvalidInput | None:
    try:
        check_ever(asked, states, scheduler)
    except InvalidInput as error:
        return error
    return None


def _spec(request: Request, body: Mapping[str, Any], asked: Asked) -> RequestSpec:
    return RequestSpec(
        plugin=body["plugin"],
        method=body["method"],
        parameters=body.get("parameters", {}),
        project_id=request.context.project_id,
        placement=asked.placement,
        same_hosts=asked.same_hosts,
        different_hosts=asked.different_hosts,
    )


def _turned_away(found: Explanation) -> str:
    if not found.turned_away:
        return "there is no host"
    counts = ", ".join(f"{asked} ({number})" for asked, number in found.turned_away.items())
    return f"turned away: {counts}"
