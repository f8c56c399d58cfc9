"""Drivers, filters and weighers, wherever they come from, by the names in the configuration."""

from __future__ import annotations

from typing import Any

from oslo_config import cfg

from labapi import installed
from labapi.exceptions import ConfigError
from labapi.known import there_is


def load(kind: type[Any], option: str, name: str, conf: cfg.ConfigOpts) -> Any:
    """Return what an option names.

    :param kind: what it must be
    :param option: of ``[scheduler]``; the entry points' group ends with its plural
    :raises ConfigError: there is no such thing, or it cannot be used; the text names the option
    """
    group = f"labapi.scheduler.{option.removesuffix('s')}s"
    known = {found.name: found for found in installed.entry_points(group)}
    if name not in known:
        raise ConfigError(f"[scheduler] {option}: there is no {name!r}; {there_is(known, name)}")
    try:
        found: Any = known[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"[scheduler] {option}: {name} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ConfigError(f"[scheduler] {option}: {name} is not a {kind.__name__}")
    return found(conf)
