"""The filters of lists of hosts: ``GET /slaves?plugin=&requires=&free=true``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from labapi.api import parameters
from labapi.exceptions import InvalidInput
from labapi.json_schema import texts
from labapi.scheduler import catalogue, requirements
from labapi.scheduler.host_state import HostState

Predicate = Callable[[HostState], bool]

# Those that may be given several times.
SEVERAL = ("requires", "metadata")
ONCE = ("plugin", "method", "free", "state", "status", "health", "group", "zone")


def predicates(query: Mapping[str, str], several: Mapping[str, Sequence[str]]) -> list[Predicate]:
    """Return what each host of the list must fulfil, apart from being free.

    :param query: the parameters that are given once, by name
    :param several: likewise those of :data:`SEVERAL`
    :raises InvalidInput: one cannot be understood; the text names it
    """
    parameters.check_one_of(query, "state", ("up", "down"))
    parameters.check_one_of(query, "status", ("enabled", "disabled"))
    parameters.check_one_of(query, "health", ("good", "bad"))
    sentences = texts("requires", several.get("requires", ()), requirements.MAX_SENTENCES)
    wanted = [_item(text) for text in several.get("metadata", ())]
    plugin, method = query.get("plugin"), query.get("method")
    simple: dict[str, Callable[[HostState, str], bool]] = {
        "state": lambda host, value: host.up is (value == "up"),
        "status": lambda host, value: host.disabled is (value == "disabled"),
        "health": lambda host, value: (host.bad is None) is (value == "good"),
        "group": lambda host, value: value in host.groups,
        "zone": lambda host, value: host.zone == value,
    }
    found: list[Predicate] = [_with(simple[name], query[name]) for name in simple if name in query]
    found += [requirement.met_by for requirement in requirements.parse_all("requires", sentences)]
    if wanted:
        found.append(lambda host: all(host.metadata.get(key) == value for key, value in wanted))
    if plugin is not None or method is not None:
        found.append(lambda host: offers(host, plugin, method))
    return found


def offers(host: HostState, plugin: str | None, method: str | None) -> bool:
    """Say whether a host has a plugin, a method, or the one in the other."""
    plugins = catalogue.read(host.plugins).plugins
    if plugin is None:
        return any(method in methods for methods in plugins.values())
    return plugin in plugins and (method is None or method in plugins[plugin])


def _with(holds: Callable[[HostState, str], bool], value: str) -> Predicate:
    return lambda host: holds(host, value)


def _item(text: str) -> tuple[str, str]:
    key, is_there, value = text.partition("=")
    if not key or not is_there:
        raise InvalidInput(f"metadata: {text[:64]!r} is not of the form key=value")
    return key, value
