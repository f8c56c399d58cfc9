"""``lab.groups``: hosts that only some projects may use."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import msgspec

from labapi_client.managers import Manager


class Group(msgspec.Struct, kw_only=True):
    """A group.

    :ivar hosts: names
    :ivar projects: ids of the projects that may use them
    :ivar health_case: what a benched host has to pass: ``plugin, method, parameters, timeout``
    """

    id: str
    name: str
    hosts: list[str] = []
    projects: list[str] = []
    metadata: dict[str, str] = {}
    health_case: dict[str, Any] | None = None
    created_at: datetime.datetime | None = None


class Settings(TypedDict, total=False):
    """What a group has beside its name."""

    hosts: Sequence[str]
    projects: Sequence[str]
    metadata: Mapping[str, str]
    health_case: Mapping[str, Any] | None


class Changes(Settings, total=False):
    """What of a group can be changed."""

    name: str


class _Page(msgspec.Struct):
    groups: list[Group]


class Groups(Manager):
    """The groups that this project may use; all for administrators, who may change them."""

    PATH = "/groups"
    NOUN = "group"

    def list(self, *, limit: int | None = None) -> Iterator[Group]:
        """Yield groups; pages are fetched as they are asked for."""
        for page in self._pages(self.PATH, {"limit": limit}):
            found: _Page = page.decode(_Page)
            yield from found.groups

    def get(self, group: str) -> Group:
        """Return one, by its UUID or name.

        :raises NotFound: there is none
        """
        return self._group("GET", self._item(group))

    def create(self, name: str, **settings: Unpack[Settings]) -> Group:
        """Make a group and return it.

        :raises BadRequest: the lab cannot use one of these; the message names it
        :raises Conflict: there is a group of this name
        """
        return self._group("POST", self.PATH, {"name": name, **settings})

    def update(self, group: str, **changes: Unpack[Changes]) -> Group:
        """Change what is given, leave the rest as it is, and return the group."""
        return self._group("PUT", self._item(group), changes)

    def delete(self, group: str) -> None:
        """Delete a group; its hosts are for everybody then, unless they are in another."""
        self._lab.request("DELETE", self._item(group))

    def add_host(self, group: str, host: str) -> None:
        """Put a host into a group."""
        self._lab.request("PUT", self._item(group, "hosts", host))

    def remove_host(self, group: str, host: str) -> None:
        """Take a host out of a group."""
        self._lab.request("DELETE", self._item(group, "hosts", host))

    def _group(self, method: str, path: str, body: Any = None) -> Group:
        found: Group = self._lab.request(method, path, body=body).decode(Group)
        return found
