"""Hosts that have announced themselves, and that have no agent behind them; their leases."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from labapi.conductor.heartbeats import said
from labapi.db import hosts, leases, services
from labapi.db.session import Database
from labapi.rpc.messages import Announce, MethodDescription

RUN_SHELL = {"linux_system": {"run_shell": MethodDescription(description="")}}


def announce(
    database: Database, host: str, now: datetime.datetime | None = None, **more: Any
) -> str:
    """Write down what the agent of a host would have said of it; return the host's name.

    :param more: what it says otherwise than that it has no plugins
    """
    about: dict[str, Any] = {"agent": "a", "address": None, "release": "1", "plugins": {}}
    message = Announce(host=host, **(about | more))
    moment = now or datetime.datetime.now(datetime.UTC)
    database.write(hosts.announce, {host: said(message)}, moment)
    return host


def beat(database: Database, host: str, now: datetime.datetime | None = None) -> None:
    """Write down a sign of life that says nothing more."""
    moment = now or datetime.datetime.now(datetime.UTC)
    database.write(services.beat, services.AGENT, {host: None}, moment)


def make_lease(
    database: Database,
    names: list[str] | None,
    now: datetime.datetime | None = None,
    *,
    most: int = 100,
    **values: Any,
) -> str:
    """Lease hosts to a project, and return the lease's UUID.

    :param names: of the hosts; None for any
    :param most: hosts that the project may lease
    :param values: columns that are not as usual
    """
    row = {
        "uuid": str(uuid.uuid4()),
        "project_id": "p",
        "user_id": "u",
        "request_id": "req-1",
        "hosts": names,
        "count": 1 if names is None else len(names),
        "seconds": 60.0,
        "ends_at": None,
    }
    moment = now or datetime.datetime.now(datetime.UTC)
    return database.write(leases.create, {**row, **values}, moment, most_hosts=most)
