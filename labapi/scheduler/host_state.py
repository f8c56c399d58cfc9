"""A host as the scheduler sees it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class HeldBy:
    """The lease that holds a host.

    :ivar lease: its UUID
    :ivar project_id: whose cases may run there
    :ivar until: when it ends; None while it waits for hosts to become free
    """

    lease: str
    project_id: str | None
    until: datetime.datetime | None = None


@dataclass(slots=True)
class HostState:
    """A host as it was read last, and what was given to it since.

    :ivar plugins: its catalogue as JSON text; hosts that announce the same share one string
    :ivar active: cases that it was given and that are not finished
    :ivar up: its agent was heard of lately
    :ivar trusts: its agent obeys a conductor that is up
    :ivar bad: why it is benched, None if it is not
    :ivar groups: names of the groups that it is in
    :ivar open_to: projects that may use those groups
    :ivar faults: cases that ended there by the lab's fault lately
    """

    id: int
    uuid: str
    host: str
    plugins: str
    slots: int
    active: int = 0
    up: bool = True
    trusts: bool = True
    disabled: bool = False
    bad: str | None = None
    zone: str = "lab"
    metadata: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    open_to: frozenset[str] = frozenset()
    held_by: HeldBy | None = None
    faults: int = 0

    @property
    def free(self) -> int:
        """Slots in which nothing runs; less than none where cases wait at the agent."""
        return self.slots - self.active
