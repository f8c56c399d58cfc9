"""Tables of hosts, and a driver to choose among them."""

from __future__ import annotations

from typing import Any

import msgspec

from labapi import config
from labapi.scheduler import driver
from labapi.scheduler.filter_scheduler import FilterScheduler
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.spec import Placement, RequestSpec

SCHEMA = {"type": "object", "properties": {"ms": {"type": "integer"}}, "required": ["ms"]}
PLUGINS = msgspec.json.encode({"power": {"cycle": {"description": "", "schema": SCHEMA}}}).decode()


def host(name: str, **values: Any) -> HostState:
    """Return a host whose id is the number at the end of its name."""
    return HostState(
        **{"id": int(name.rpartition("-")[2]), "uuid": name, "host": name, "plugins": PLUGINS}
        | {"slots": 4, **values}
    )


def table(rows: dict[str, dict[str, Any]]) -> HostStates:
    """Return hosts by name."""
    return HostStates(host(name, **values) for name, values in rows.items())


def scheduler(**options: Any) -> FilterScheduler:
    """Return the driver of a configuration with options of ``[scheduler]``."""
    conf = config.new(**{f"scheduler__{name}": value for name, value in options.items()})
    conf([], project="labapi", default_config_files=[])
    found = driver.load(conf)
    assert isinstance(found, FilterScheduler)
    return found


def only(filters: list[str] = [], weighers: dict[str, str] = {}, **options: Any) -> FilterScheduler:  # noqa: B006
    """Return a driver that asks these filters and weighers alone."""
    return scheduler(filters=filters, weighers=weighers, **options)


def request(**values: Any) -> RequestSpec:
    """Return a request; what is not of it itself, is of its placement."""
    own = {name: values.pop(name) for name in RequestSpec.__struct_fields__ if name in values}
    return RequestSpec(**own, placement=Placement(**values))


def names(found: list[HostState]) -> list[str]:
    """Return the names of hosts."""
    return [one.host for one in found]
