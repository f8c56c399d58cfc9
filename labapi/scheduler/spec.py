"""What a case asks of the host that it is to run on."""

from __future__ import annotations

import functools
from enum import StrEnum
from typing import Any

import msgspec

from labapi.db.models import CANNOT_BE_SHOWN
from labapi.scheduler import requirements
from labapi.scheduler.requirements import Requirement


class OnNoHost(StrEnum):
    """What becomes of a case for which there is no host now."""

    WAIT = "wait"
    FAIL = "fail"


class Access(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the allow-lists of hosts have to know of the client, as the pipeline established it.

    :ivar prefix: what the metadata keys of lists start with, in lower case
    :ivar everywhere: no list keeps this client out
    :ivar closed_by_default: a host without any list lets nobody in
    """

    prefix: str
    everywhere: bool = False
    closed_by_default: bool = False


class Placement(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a caller asks for instead of naming a host; a case keeps it as JSON.

    :ivar requires: sentences over metadata and facts that a host must fulfil
    :ivar prefer: sentences that it should fulfil
    :ivar group: name of a group that it must be in
    :ivar zone: the zone of its agent
    :ivar lease: UUID of a lease that must hold it
    :ivar same_host_as: UUIDs of cases on whose host it must run
    :ivar different_host_from: UUIDs of cases on whose hosts it must not run
    :ivar client: address of the caller, as the pipeline established it
    :ivar access: None where no filter guards hosts
    """

    requires: tuple[str, ...] = ()
    prefer: tuple[str, ...] = ()
    group: str | None = None
    zone: str | None = None
    lease: str | None = None
    same_host_as: tuple[str, ...] = ()
    different_host_from: tuple[str, ...] = ()
    on_no_host: OnNoHost = OnNoHost.WAIT
    client: str | None = None
    access: Access | None = None


class RequestSpec(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All that a decision depends on, apart from the hosts.

    :ivar case: UUID of the case; empty for a question that makes none
    :ivar plugin: None where a host is wanted, whatever it offers
    :ivar method: None where any method of the plugin will do
    :ivar parameters: None where they are not known yet; then any will do
    :ivar tried: names of hosts that failed this case by the lab's fault
    :ivar same_hosts: names of the hosts of ``placement.same_host_as``; None where none was asked
        for, and empty while one of those cases has no host yet
    :ivar different_hosts: names of the hosts of ``placement.different_host_from``
    :ivar batch_hosts: how many cases of the same batch each host was given, by name
    :ivar ahead: cases beyond its slots that a host may be given
    """

    case: str = ""
    plugin: str | None = None
    method: str | None = None
    parameters: dict[str, Any] | None = None
    project_id: str | None = None
    placement: Placement = Placement()
    tried: frozenset[str] = frozenset()
    same_hosts: frozenset[str] | None = None
    different_hosts: frozenset[str] = frozenset()
    batch_hosts: dict[str, int] = {}
    ahead: int = 0

    @functools.cached_property
    def requires(self) -> tuple[Requirement, ...]:
        """The sentences that a host must fulfil, read once."""
        return tuple(map(requirements.parse, self.placement.requires))

    @functools.cached_property
    def prefers(self) -> tuple[Requirement, ...]:
        """The sentences that a host should fulfil, read once."""
        return tuple(map(requirements.parse, self.placement.prefer))

    @functools.cached_property
    def verdicts(self) -> dict[bytes, str | None]:
        """What is wrong with the parameters by each schema that they were compared with."""
        return {}


def stored(placement: Placement) -> Any:
    """Return a placement as the column of a case keeps it."""
    return msgspec.to_builtins(placement)


def read(column: Any) -> Placement:
    """Return the placement that a column of a case holds.

    :raises msgspec.ValidationError: it holds something else
    """
    if isinstance(column, dict) and CANNOT_BE_SHOWN in column:
        raise msgspec.ValidationError(str(column[CANNOT_BE_SHOWN]))
    return msgspec.convert({} if column is None else column, Placement)
