"""What a POST makes: the rows of cases, and the hint that tells conductors of them."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from oslo_config import cfg

from labapi import json_schema
from labapi.api import lookup, placements
from labapi.api.backend.hints import Hints
from labapi.api.request import Request
from labapi.api.schemas import testcases as bodies
from labapi.api.where import Where
from labapi.case import State
from labapi.db import at_once, testcases
from labapi.db.at_once import WAITS, given
from labapi.db.session import Database, Record
from labapi.exceptions import InvalidInput
from labapi.scheduler import catalogue
from labapi.scheduler.room import Room
from labapi.servicegroup.driver import Liveness


class New(NamedTuple):
    """Cases that a body asks for.

    :ivar rows: their columns
    :ivar place: of a case that names its host, the host's id if that takes cases now
    :ivar many: they are a batch, even if it is one of one
    """

    rows: list[dict[str, Any]]
    place: int | None = None
    many: bool = False

    @property
    def first(self) -> dict[str, Any]:
        """The case that stands for all of them."""
        return self.rows[0]


class NewCases:
    """Makes cases of bodies, after checking everything that can be checked.

    :param conf: configuration with the groups ``[api]`` and ``[scheduler]``
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        hints: Hints,
        liveness: Liveness,
        where: Where,
    ) -> None:
        self._conf = conf
        self._most: int = conf.scheduler.max_count
        self._database = database
        self._hints = hints
        self._room = Room(conf, liveness)
        self._where = where

    def of(self, request: Request, body: dict[str, Any]) -> New:
        """Return the cases that a body asks for.

        :raises InvalidInput: the body cannot be used; the text says why
        :raises NotFound: it names something that is not there for this caller
        :raises Forbidden: its host is guarded or in groups, and this caller may not run on it
        """
        self._check(body)
        if "host" in body:
            return self._on_named(request, body)
        if "hosts" in body:
            on = self._hosts(request, body)
            return self._batch([self._columns(request, body, host=name) for name in on])
        asked = self._where.asked(request, body)
        column = {"placement": placements.column(request, asked.placement)}
        count = body.get("count")
        rows = [self._columns(request, body, host=None) | column for _ in range(int(count or 1))]
        return New(rows) if count is None else self._batch(rows)

    def dry_run(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        """Return where the cases that a body asks for could run; none is made.

        :raises InvalidInput, NotFound, Forbidden: as with :meth:`of`
        """
        self._check(body)
        named: Sequence[str] | None = None
        if "host" in body:
            named = [self._named(request, body).host]
        elif body.get("hosts", placements.ALL) != placements.ALL:
            named = self._hosts(request, body)
        return self._where.explained(request, body, named)

    def _check(self, body: Mapping[str, Any]) -> None:
        """Check what can be checked of a body by itself.

        :raises InvalidInput: it cannot be used; the text says why
        """
        json_schema.check(bodies.CREATE, body)
        placements.check_form(body)
        count, most = body.get("count", 1), self._most
        if not 1 <= count <= most:
            raise InvalidInput(f"count: one request makes 1 to {most} cases, not {str(count)[:32]}")
        check_timeout(self._conf, body)

    def add(self, new: New) -> str:
        """Write cases down, all or none, and note in a row if it was not given what it might have.

        :returns: the UUID of the first, or of the case that has its Idempotency-Key already
        """
        if new.place is not None:
            made = self._database.insert(at_once.give, new.first, new.place, self._room.ahead)
            if not made.given:
                new.first.update(WAITS)
            return made.uuid
        if len(new.rows) == 1:
            return self._database.insert(testcases.create, new.first)
        return self._database.write(testcases.create_all, new.rows)

    def tell(self, new: New) -> None:
        """Give the conductors a hint that cases are there."""
        for case in new.rows:
            if case["state"] == State.QUEUED:
                self._hints.case_waits(case["uuid"], case["host"])
            else:
                self._hints.case_given(case["uuid"])

    def _on_named(self, request: Request, body: Mapping[str, Any]) -> New:
        host = self._named(request, body)
        row = self._columns(request, body, host=host.host)
        now = row["created_at"]
        # If the broker is away, nobody would hear of a case that is given.
        if self._hints.away or not self._room.takes(host, now):
            return New([row])
        return New([row | given(now, uuid.uuid4().hex)], place=host.id)

    def _named(self, request: Request, body: Mapping[str, Any]) -> Record:
        host = lookup.host_named(self._database, request, body["host"])
        catalogue.check(host, body["plugin"], body["method"], body.get("parameters", {}))
        return host

    def _hosts(self, request: Request, body: Mapping[str, Any]) -> Sequence[str]:
        """Return the names of the hosts that get a case each."""
        most = self._most
        if body["hosts"] != placements.ALL:
            found = lookup.hosts_named(self._database, request, body["hosts"], most)
            for host in {host.plugins: host for host in found}.values():
                catalogue.check(host, body["plugin"], body["method"], body.get("parameters", {}))
            return [host.host for host in found]
        on = self._where.every(request, body)
        if len(on) > most:
            raise InvalidInput(
                f"hosts: {len(on)} hosts can run it, and one request makes at most {most} cases;"
                " narrow it down with 'requires', 'group' or 'zone'"
            )
        return on

    def _batch(self, rows: list[dict[str, Any]]) -> New:
        size = len(msgspec.json.encode(rows[0]["parameters"])) * len(rows)
        if size > self._conf.scheduler.max_batch_size:
            raise InvalidInput(
                f"parameters: those of {len(rows)} cases have {size} bytes together; the most that"
                f" is allowed is {self._conf.scheduler.max_batch_size}"
            )
        return New([row | {"batch": rows[0]["uuid"]} for row in rows], many=True)

    def _columns(
        self, request: Request, body: Mapping[str, Any], *, host: str | None
    ) -> dict[str, Any]:
        """Return the columns that say what a case is, and whose."""
        context = request.context
        return {
            "uuid": str(uuid.uuid4()),
            "project_id": context.project_id,
            "user_id": context.user_id,
            "request_id": context.request_id,
            **columns(self._conf, body, host),
            "created_at": datetime.datetime.now(datetime.UTC),
            "output_size": 0,
            "idempotency": None,
            "body_digest": None,
            **WAITS,
        }


def columns(conf: cfg.ConfigOpts, body: Mapping[str, Any], host: str | None) -> dict[str, Any]:
    """Return the columns of a case that its body says, all but those of its placement.

    :param conf: configuration with the group ``[api]``
    :param host: the name of the host that the body names
    """
    return {
        "plugin": body["plugin"],
        "method": body["method"],
        "host": host,
        "parameters": body.get("parameters", {}),
        "timeout": float(body.get("timeout", conf.api.default_timeout)),
        "queue_rank": -int(body.get("priority", 0)),  # JSON may say 5.0
        "rerun_on_loss": body.get("rerun_on_loss", False),
    }


def check_timeout(conf: cfg.ConfigOpts, body: Mapping[str, Any]) -> None:
    """Check that a case does not ask for more time than it may have.

    :raises InvalidInput: it does
    """
    longest = conf.api.max_timeout
    if body.get("timeout", 0) > longest:
        raise InvalidInput(f"timeout: the longest allowed is {longest:g} seconds")
