"""How much there is to do, for those who look after the lab."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from labapi.case import State
from labapi.db.models import Service, TestCase, TestPlan
from labapi.db.plans import UNFINISHED
from labapi.db.services import AGENT

# Both need the index only: the oldest case has the lowest id.
_WAITING = select(func.count(), func.min(TestCase.id)).where(TestCase.state == State.QUEUED)
_PLANS = (
    select(TestPlan.state, func.count().label("count"))
    .where(TestPlan.state.in_(UNFINISHED))
    .group_by(TestPlan.state)
)
_AGENTS = select(func.count()).where(Service.binary == AGENT)


class Backlog(NamedTuple):
    """What waits.

    :ivar cases: that no host was given yet
    :ivar since: when the oldest of them was made
    :ivar hosts: on the list, up or not
    :ivar plans: test plans that are not finished, by state
    """

    cases: int
    since: datetime.datetime | None
    hosts: int
    plans: dict[str, int]


def look(connection: Connection) -> Backlog:
    """Return what waits."""
    cases, oldest = connection.execute(_WAITING).one()
    made = select(TestCase.created_at).where(TestCase.id == oldest)
    since = connection.execute(made).scalar() if cases else None
    hosts = connection.execute(_AGENTS).scalar_one()
    plans: dict[str, int] = dict.fromkeys(UNFINISHED, 0)
    plans.update({row.state: row.count for row in connection.execute(_PLANS)})
    return Backlog(cases, since, hosts, plans)
