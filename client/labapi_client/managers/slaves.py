"""``lab.slaves``: the machines of the lab."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from labapi_client.managers import Manager


class Running(msgspec.Struct, kw_only=True):
    """A case that a host has; of other projects' cases only the time is shown.

    :ivar until: when its method is ended at the latest; None if it has not begun
    """

    case: str | None = None
    project_id: str | None = None
    until: datetime.datetime | None = None


class Held(msgspec.Struct, kw_only=True):
    """The lease that holds a host; of other projects' leases only the time is shown."""

    id: str | None = None
    project_id: str | None = None
    until: datetime.datetime | None = None


class Slave(msgspec.Struct, kw_only=True):
    """A machine of the lab. What a list without details does not say is None.

    :ivar compute_node_type: its plugins, separated by commas
    :ivar compute_node_method: ``{plugin: {method: description}}``
    :ivar facts: what its agent tells of it; None in lists
    :ivar slots: how many cases it can run at the same time
    """

    uuid: str = ""
    id: int
    host: str
    address: str | None = None
    compute_node_type: str | None = None
    compute_node_method: dict[str, dict[str, str]] | None = None
    state: str | None = None
    status: str | None = None
    health: str | None = None
    bad_since: datetime.datetime | None = None
    bad_reason: str | None = None
    zone: str | None = None
    groups: list[str] = []
    lease: Held | None = None
    running: list[Running] = []
    trusted_keys: list[str] | None = None
    trusts_conductors: bool | None = None
    last_seen: datetime.datetime | None = None
    slots: int | None = None
    claimed: bool | None = None
    metadata: dict[str, str] | None = None
    facts: dict[str, Any] | None = None
    release: str | None = None
    problem: str | None = None


class Method(msgspec.Struct, kw_only=True):
    """What a host can run.

    :ivar schema: JSON Schema (2020-12) of the parameters; None if anything goes
    """

    description: str
    schema: Any = None


class Removed(msgspec.Struct, kw_only=True):
    """What came of the removal of a host.

    :ivar ended: how many cases ended, by their reason
    :ivar left: what is left for an operator to do
    """

    host: str
    ended: dict[str, int]
    left: str = ""


class Health(msgspec.Struct, kw_only=True):
    """Whether a host gets cases: ``good``, or ``bad`` if it is benched."""

    health: str
    bad_since: datetime.datetime | None = None
    bad_reason: str | None = None


class _Plugins(msgspec.Struct):
    plugins: dict[str, dict[str, Method]]


class _Metadata(msgspec.Struct):
    metadata: dict[str, str]


class Slaves(Manager):
    """The machines of the lab."""

    PATH = "/slaves"
    NOUN = "slave"

    def list(
        self,
        *,
        detail: bool = True,
        limit: int | None = None,
        **filters: str | bool | Sequence[str] | None,
    ) -> Iterator[Slave]:
        """Yield machines; the next page is fetched when it is asked for.

        :param detail: False for ``uuid``, ``id`` and ``host`` alone
        :param limit: machines in a page
        :param filters: ``plugin``, ``method``, ``free``, ``state``, ``status``, ``health``,
            ``group``, ``zone``, and, with any number of values, ``requires`` and ``metadata``
        """
        path = f"{self.PATH}/detail" if detail else self.PATH
        for page in self._pages(path, {"limit": limit, **filters}):
            found: dict[str, Slave] = page.decode(dict[str, Slave])
            for uuid, slave in found.items():
                slave.uuid = uuid
                yield slave

    def get(self, slave: str | int) -> Slave:
        """Return one, by its name, number or UUID.

        :raises NotFound: there is none
        """
        found: Slave = self._lab.request("GET", self._item(slave)).decode(Slave)
        return found

    def delete(self, slave: str | int) -> Removed:
        """Take a machine that is down off the list, and end its cases; for administrators.

        :raises Conflict: it is up
        """
        found: Removed = self._lab.request("DELETE", self._item(slave)).decode(Removed)
        return found

    def set_health(self, slave: str | int, health: str, reason: str | None = None) -> Health:
        """Bench a machine, so that it gets no more cases, or let it have some again.

        :param health: ``bad`` or ``good``
        :param reason: for people, 1 to 255 characters; ``bad`` needs one
        """
        body = {"health": health} if reason is None else {"health": health, "reason": reason}
        path = self._item(slave, "health")
        found: Health = self._lab.request("PUT", path, body=body).decode(Health)
        return found

    def plugins(self, slave: str | int) -> dict[str, dict[str, Method]]:
        """Return what a machine can run, by plugin and method."""
        found: _Plugins = self._lab.request("GET", self._item(slave, "plugins")).decode(_Plugins)
        return found.plugins

    def metadata(self, slave: str | int) -> dict[str, str]:
        """Return the notes of the operators on a machine."""
        return self._notes("GET", self._item(slave, "metadata"))

    def set_metadata(self, slave: str | int, notes: Mapping[str, str]) -> dict[str, str]:
        """Set notes, leave the others as they are, and return all."""
        for key, value in notes.items():
            path = self._item(slave, "metadata", key)
            self._lab.request("PUT", path, body={"metadata": {key: value}})
        return self.metadata(slave)

    def replace_metadata(self, slave: str | int, notes: Mapping[str, str]) -> dict[str, str]:
        """Put notes in place of all that there are, and return them."""
        return self._notes("PUT", self._item(slave, "metadata"), {"metadata": dict(notes)})

    def unset_metadata(self, slave: str | int, keys: Iterable[str]) -> None:
        """Remove notes.

        :raises NotFound: there is no such note
        """
        for key in keys:
            self._lab.request("DELETE", self._item(slave, "metadata", key))

    def _notes(self, method: str, path: str, body: object = None) -> dict[str, str]:
        found: _Metadata = self._lab.request(method, path, body=body).decode(_Metadata)
        return found.metadata
