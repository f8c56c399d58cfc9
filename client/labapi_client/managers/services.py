"""``lab.services``: the programs of the lab."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import msgspec

from labapi_client.managers import Manager


class Service(msgspec.Struct, kw_only=True):
    """A program of the lab.

    :ivar disabled_by: who disabled it: a user of the API, or ``user@machine`` of an operator
    :ivar clock_skew: seconds that its clock is ahead of the lab's
    :ivar facts: what it says of itself
    """

    id: int
    binary: str
    host: str
    zone: str | None = None
    status: str
    disabled_reason: str | None = None
    disabled_by: str | None = None
    state: str
    updated_at: datetime.datetime | None = None
    clock_skew: float | None = None
    facts: dict[str, Any] | None = None


class _Page(msgspec.Struct):
    services: list[Service]


class Services(Manager):
    """The programs of the lab; for administrators."""

    PATH = "/services"
    NOUN = "service"

    def list(self, *, binary: str | None = None, host: str | None = None) -> Iterator[Service]:
        """Yield programs, and whether they are up.

        :param binary: only this program
        :param host: only those on this host
        """
        for page in self._pages(self.PATH, {"binary": binary, "host": host}):
            found: _Page = page.decode(_Page)
            yield from found.services

    def enable(self, service: int) -> Service:
        """Have an agent given work again, and return it.

        :raises NotFound: there is no such service
        """
        return self._switch(service, {"status": "enabled"})

    def disable(self, service: int, reason: str | None = None) -> Service:
        """Have an agent given no more work, and return it; it finishes what it has.

        :param reason: for people, 1 to 255 characters
        :raises NotFound: there is no such service
        """
        why = {} if reason is None else {"disabled_reason": reason}
        return self._switch(service, {"status": "disabled", **why})

    def _switch(self, service: int, body: dict[str, str]) -> Service:
        found: Service = self._lab.request("PUT", self._item(service), body=body).decode(Service)
        return found
