"""The filter ``group``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labapi.scheduler.filters.base import Filter, Lack
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.kept import Ids
from labapi.scheduler.spec import RequestSpec


class Group(Filter):
    """Keeps projects to the groups that name them, and requests to the group that they ask for.

    What is in no group is everybody's.
    """

    name = "group"

    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        """Say whether the project may use the host, and it is in the wanted group."""
        wanted = spec.placement.group
        return _open_to(host, spec.project_id) and (wanted is None or wanted in host.groups)

    def index(self, spec: RequestSpec, hosts: HostStates) -> Iterable[Ids]:
        """Return the project's hosts, and those of the wanted group."""
        project, wanted = spec.project_id, spec.placement.group
        yield hosts.where(("project", project), lambda host: _open_to(host, project))
        if wanted is not None:
            yield hosts.where((self.name, wanted), lambda host: wanted in host.groups)

    def lacks(self, host: HostState, spec: RequestSpec) -> Sequence[Lack]:
        """Say whether it is the project's group or the wanted one."""
        if not _open_to(host, spec.project_id):
            return (Lack(self.name, "it is in a group that is not the project's"),)
        return (Lack(f"{self.name} {spec.placement.group}", "it is not in this group"),)


def _open_to(host: HostState, project: str | None) -> bool:
    return not host.groups or project in host.open_to
