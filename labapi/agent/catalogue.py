"""The catalogue of an agent: plugins, loaded by name, and methods, described and checked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

from oslo_log import log

from labapi import installed, plain_schema
from labapi.agent.plugins.base import NAME, Method, Plugin
from labapi.exceptions import ConfigError, InvalidInput
from labapi.rpc.messages import MethodDescription

if TYPE_CHECKING:
    from labapi.agent.plugins.schema import Checker

LOG = log.getLogger(__name__)

GROUP = "labapi.plugins"
OURS = "labapi.agent.plugins."  # modules whose schemas the tests have examined


@dataclass(frozen=True)
class Entry:
    """A method in the catalogue."""

    method: Method

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Check that the parameters fit the method's schema.

        :raises InvalidInput: they do not; the text says where and why
        """
        if self.method.schema is None or (self._fits is not None and self._fits(parameters)):
            return
        self._checker.check(parameters)

    @cached_property
    def _fits(self) -> Callable[[Any], bool] | None:
        return plain_schema.fits(self.method.schema)

    @cached_property
    def _checker(self) -> Checker:
        from labapi.agent.plugins.schema import Checker

        assert self.method.schema is not None  # noqa: S101 (else nothing is checked)
        return Checker(self.method.schema)


class Catalogue:
    """The plugins and methods that cases may name at an agent.

    :param names: entry points in the group ``labapi.plugins``
    :param allowed: patterns of ``plugin.method``; what matches none is left out
    :param timeout: seconds that a plugin may take to be imported and made. One that takes longer,
        or fails, is logged and left out; the others are loaded
    :raises ConfigError: a name is not installed or stands twice, or a plugin is malformed
    """

    def __init__(self, names: Sequence[str], *, allowed: Sequence[str], timeout: float) -> None:
        self._entries: dict[str, dict[str, Entry]] = {}
        for point in _chosen(names):
            plugin = _load(point, timeout)
            if plugin is None:
                continue
            entries = {
                name: entry
                for name, entry in _entries(point.name, plugin).items()
                if any(fnmatchcase(f"{point.name}.{name}", pattern) for pattern in allowed)
            }
            if entries:
                self._entries[point.name] = entries
            else:
                LOG.warning("[agent] allowed_methods allows nothing of plugin %s", point.name)

    def described(self) -> dict[str, dict[str, MethodDescription]]:
        """Return ``{plugin: {method: description}}`` as it is announced."""
        return {
            plugin: {
                name: MethodDescription(
                    description=entry.method.description,
                    schema=dict(entry.method.schema) if entry.method.schema is not None else None,
                )
                for name, entry in entries.items()
            }
            for plugin, entries in self._entries.items()
        }

    def find(self, plugin: str, method: str) -> Entry:
        """Return a method.

        :raises InvalidInput: the catalogue lacks it; the text lists what is there
        """
        entries = self._entries.get(plugin)
        if entries is None:
            known = ", ".join(sorted(self._entries)) or "none"
            raise InvalidInput(f"there is no plugin {plugin!r} here; there are: {known}")
        if method not in entries:
            known = ", ".join(sorted(entries))
            raise InvalidInput(f"plugin {plugin!r} has no method {method!r}; it has: {known}")
        return entries[method]


def _chosen(names: Sequence[str]) -> list[EntryPoint]:
    """Return the plugins of these names.

    :raises ConfigError: a name is malformed, stands twice or is not installed
    """
    installed = _installed()
    for name in names:
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"[agent] plugins: {name!r} is not a name of a-z, 0-9 and _, at most 64 long"
            )
        if names.count(name) > 1:
            raise ConfigError(f"[agent] plugins names {name!r} twice")
        if name not in installed:
            known = ", ".join(sorted(installed)) or "none"
            raise ConfigError(
                f"[agent] plugins: no plugin {name!r} is installed; there are: {known}"
            )
    return [installed[name] for name in names]


def _installed() -> dict[str, EntryPoint]:
    """Return the installed plugins by name.

    :raises ConfigError: two distributions have different plugins of one name
    """
    found: dict[str, EntryPoint] = {}
    for point in installed.entry_points(GROUP):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ConfigError(f"two plugins are named {point.name!r}: {other.value}, {point.value}")
    return found


def _load(point: EntryPoint, timeout: float) -> Plugin | None:
    """Import and make a plugin; None, and a line in the log, if that fails or takes too long."""
    made: list[Plugin] = []

    def load() -> None:
        try:
            made.append(point.load()())
        except BaseException:
            # Whatever a plugin's module does (sys.exit is seen, too), the agent lives on.
            LOG.exception("plugin %s is left out: %s failed", point.name, point.value)

    thread = threading.Thread(target=load, name=f"load-{point.name}", daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        LOG.error(
            "plugin %s is left out: %s took longer than %g s", point.name, point.value, timeout
        )
        return None
    if not made:
        return None
    if not isinstance(made[0], Plugin):
        raise ConfigError(
            f"plugin {point.name!r}: {point.value} is not a labapi.agent.plugins.Plugin"
        )
    return made[0]


def _entries(name: str, plugin: Plugin) -> dict[str, Entry]:
    ours = type(plugin).__module__.startswith(OURS)
    entries = {}
    for method_name, method in plugin.methods().items():
        if method.schema is not None and not ours:
            _examine(method.schema, f"plugin {name!r}, method {method_name!r}: the schema")
        entries[method_name] = Entry(method)
    return entries


def _examine(schema: Mapping[str, Any], where: str) -> None:
    """Check that a schema can be used.

    :raises ConfigError: it cannot
    """
    from labapi.agent.plugins.schema import examine

    try:
        json.dumps(schema, allow_nan=False)
        examine(schema)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where} cannot be used: {error}") from error
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise ConfigError(f"{where} refers to {reference!r}; only '#…' is read")


def _references(schema: Any) -> list[str]:
    if isinstance(schema, Mapping):
        own = [v for k, v in schema.items() if k in ("$ref", "$dynamicRef") and isinstance(v, str)]
        return own + [r for value in schema.values() for r in _references(value)]
    if isinstance(schema, list | tuple):
        return [r for value in schema for r in _references(value)]
    return []
