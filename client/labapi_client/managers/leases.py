"""``lab.leases``: hosts that are one project's until a time."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from labapi_client.managers import Manager


class WaitsFor(msgspec.Struct, kw_only=True):
    """A host that a lease waits for.

    :ivar until: when the case that runs there is ended at the latest; None if it has not begun
    """

    host: str
    until: datetime.datetime | None = None


class Lease(msgspec.Struct, kw_only=True):
    """A lease; ``docs/api.md`` describes the fields.

    :ivar state: ``waiting``, ``active`` or ``ended``
    :ivar seconds: how long it was asked to last
    :ivar place: of one that waits: among those that wait, from 1
    """

    id: str
    state: str
    hosts: list[str] = []
    count: int | None = None
    requires: list[str] | None = None
    group: str | None = None
    zone: str | None = None
    seconds: float | None = None
    note: str | None = None
    keys: list[str] = []
    place: int | None = None
    waits_for: list[WaitsFor] = []
    project_id: str | None = None
    user_id: str | None = None
    created_at: datetime.datetime | None = None
    starts_at: datetime.datetime | None = None
    ends_at: datetime.datetime | None = None
    ended_at: datetime.datetime | None = None
    ended_by: str | None = None


class _Page(msgspec.Struct):
    leases: list[Lease]


class Leases(Manager):
    """The leases of this project; of all projects for administrators."""

    PATH = "/leases"
    NOUN = "lease"

    def list(self, *, state: str | None = None, limit: int | None = None) -> Iterator[Lease]:
        """Yield leases, newest first; pages are fetched as they are asked for.

        :param state: only those that are ``waiting``, ``active`` or ``ended``
        """
        for page in self._pages(self.PATH, {"state": state, "limit": limit}):
            found: _Page = page.decode(_Page)
            yield from found.leases

    def get(self, lease: str) -> Lease:
        """Return one.

        :raises NotFound: there is none
        """
        return self._lease("GET", self._item(lease))

    def create(
        self,
        hosts: Sequence[str] = (),
        *,
        count: int | None = None,
        requires: Sequence[str] | None = None,
        group: str | None = None,
        zone: str | None = None,
        seconds: float | None = None,
        until: datetime.datetime | str | None = None,
        note: str | None = None,
        keys: Sequence[str] | None = None,
        idempotency_key: str | None = None,
    ) -> Lease:
        """Lease hosts to this project, and return the lease; it may have to wait.

        :param count: so many hosts, instead of named ones
        :param requires: with ``count``, what each of them must fulfil
        :param group: with ``count``, the group that they must be in
        :param zone: with ``count``, the zone that they must be in
        :param seconds: how long it lasts from its start
        :param until: until when it lasts, instead, as a time or as ISO 8601
        :param note: what it is for
        :param keys: ssh public keys that let in while it is active, where agents are set up for it
        :param idempotency_key: the same key makes no second lease; one is made up if there is none
        :raises Conflict: a host cannot be leased now; the message says why
        """
        body = {
            **{"hosts": list(hosts) or None, "count": count, "requires": requires},
            **{"group": group, "zone": zone, "seconds": seconds, "until": until, "note": note},
            "keys": keys,
        }
        key = idempotency_key or uuid.uuid4().hex
        return self._lease("POST", self.PATH, body, {"Idempotency-Key": key})

    def renew(
        self,
        lease: str,
        *,
        seconds: float | None = None,
        until: datetime.datetime | str | None = None,
    ) -> Lease:
        """Have a lease end ``seconds`` from now, or at a time, and return it.

        :raises Conflict: it has ended
        """
        return self._lease("PUT", self._item(lease), {"seconds": seconds, "until": until})

    def delete(self, lease: str) -> None:
        """End a lease."""
        self._lab.request("DELETE", self._item(lease))

    def _lease(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Lease:
        given = {name: value for name, value in (body or {}).items() if value is not None}
        answer = self._lab.request(
            method, path, body=given if body is not None else None, headers=headers
        )
        found: Lease = answer.decode(Lease)
        return found
