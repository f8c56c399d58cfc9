"""Hosts that have announced themselves, and that have no agent behind them."""

from __future__ import annotations

import datetime
from typing import Any

from labapi.conductor.heartbeats import said
from labapi.db import hosts, services
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
