"""Who uses hosts: the groups that they are in, and the cases that run there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, bindparam, select

from labapi.case import ACTIVE
from labapi.db.models import HostGroup, HostGroupHost, HostGroupProject, TestCase
from labapi.db.session import Record

# Most cases that are looked at for one answer: a host may have ten thousand slots.
MAX_CASES = 1000

# Statements are built once: building one takes longer than running it.
_RUNNING = (
    select(TestCase.host, TestCase.uuid, TestCase.project_id, TestCase.started_at, TestCase.timeout)
    .where(TestCase.state.in_(ACTIVE), TestCase.host.in_(bindparam("hosts", expanding=True)))
    .order_by(TestCase.id)
    .limit(MAX_CASES)
)
_GROUPS = (
    select(HostGroupHost.host, HostGroup.name, HostGroupProject.project_id)
    .join(HostGroup, HostGroup.id == HostGroupHost.group_id)
    .outerjoin(HostGroupProject, HostGroupProject.group_id == HostGroup.id)
    .where(HostGroupHost.host.in_(bindparam("hosts", expanding=True)))
    .order_by(HostGroup.name)
)
_GROUPS_FOR = (
    select(HostGroup.name)
    .join(HostGroupProject, HostGroupProject.group_id == HostGroup.id)
    .where(HostGroupProject.project_id == bindparam("project"))
)


def running(connection: Connection, hosts: Iterable[str]) -> Mapping[str, Sequence[Record]]:
    """Return the cases that hosts have been given and not finished, oldest first, by host.

    :returns: ``uuid, project_id, started_at, timeout``; not more than ``MAX_CASES`` in all
    """
    found: dict[str, list[Record]] = defaultdict(list)
    for case in connection.execute(_RUNNING, {"hosts": list(hosts)}):
        found[case.host].append(case)
    return found


def groups(connection: Connection, hosts: Iterable[str]) -> dict[str, dict[str, set[str]]]:
    """Return the groups of hosts, ``{host: {group: projects that may use it}}``."""
    found: dict[str, dict[str, set[str]]] = defaultdict(dict)
    for row in connection.execute(_GROUPS, {"hosts": list(hosts)}):
        projects = found[row.host].setdefault(row.name, set())
        if row.project_id is not None:
            projects.add(row.project_id)
    return found


def groups_for(connection: Connection, project: str | None) -> set[str]:
    """Return the names of the groups whose hosts a project may use."""
    return set(connection.execute(_GROUPS_FOR, {"project": project}).scalars())
