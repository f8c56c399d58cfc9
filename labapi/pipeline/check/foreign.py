"""Filters of other projects, which do not describe themselves in the way that ours do.

Those of OpenStack describe their options to oslo.config; the plugins with which auth_token logs in
describe theirs to keystoneauth.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oslo_config import cfg

from labapi import installed
from labapi.pipeline.check.factory import Factory
from labapi.pipeline.check.file import Value
from labapi.pipeline.check.finding import Finding, nearest
from labapi.pipeline.check.parts import Part
from labapi.pipeline.contract import IDENTITY

AUTH_TOKEN = "keystonemiddleware.auth_token"  # noqa: S105 - a module
_OSLO = "oslo_middleware."

# What they give, by the beginning of the module's name; of others nobody knows.
_GIVES = {AUTH_TOKEN: IDENTITY, "keystonemiddleware.audit": "", _OSLO: ""}
# Where a filter takes more from, and what it is called in the log.
_ABOUT_ITSELF = {"oslo_config_project", "oslo_config_file", "oslo_config_program", "log_name"}
_TAKES_MORE = {"oslo_config_project", "oslo_config_file", "auth_section"}


def gives(part: Part) -> str | None:
    """Return what a filter gives those to its right, None if nobody knows."""
    said = part.told("gives")
    if said is not None:
        return str(said)
    module = part.factory.module if part.factory else ""
    return next((what for start, what in _GIVES.items() if module.startswith(start)), None)


def can_be_tried(part: Part, factory: Factory) -> bool:
    """Say whether it is known that building it opens no file, socket or connection."""
    return factory.module.startswith((AUTH_TOKEN, _OSLO)) and _TAKES_MORE.isdisjoint(part.local)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what auth_token logs when it starts out of the log of a trial."""
    logger = logging.getLogger("keystonemiddleware")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def own_configuration(module: str, written: Iterable[str]) -> dict[str, Any]:
    """Return options that keep a part from the configuration that is global.

    There its options would stay, for whatever is built after it.

    :param module: of its factory
    :param written: the names of the options that it gets, of which one may name a configuration
    """
    if not _TAKES_MORE.isdisjoint(written):
        return {}
    if module.startswith(AUTH_TOKEN):
        own = cfg.ConfigOpts()
        own([], project="labapi", default_config_files=[])
        return {"oslo_config_config": own}
    if module.startswith(_OSLO):
        return {"oslo_config_project": "labapi", "oslo_config_file": os.devnull}
    return {}


def check(part: Part) -> Iterator[Finding]:
    """Return what is wrong with the options of a filter that oslo.config knows."""
    module = part.factory.module if part.factory else ""
    known = _described(module)
    if known is None:
        return
    if module.startswith(AUTH_TOKEN):
        yield from _late(part)
        yield from _without_client(part)
        login = _login(part)
        if isinstance(login, Finding):
            yield login
            return  # the other options belong to a plugin that is not known
        # A plugin's former names of options count in a file of oslo.config only.
        known = {**{option.dest: option for option in login}, **known}
        yield from _missing(part, known, login)
    for name, value in part.local.items():
        option = known.get(name)
        if option is not None:
            yield from _value(part, name, value.text, option)
        elif name not in _ABOUT_ITSELF and "auth_section" not in part.local:
            guess = nearest(name, known)
            # The filter itself only mentions it in the log.
            yield Finding(value.place, f"there is no such option{guess}", fatal=bool(guess))


def _described(module: str) -> dict[str, Any] | None:
    """Return the options that a module has, by every name they have."""
    names = {module, module.replace("oslo_", "oslo.", 1)}
    for point in installed.entry_points("oslo.config.opts"):
        if point.name in names:
            options = [option for _, group in point.load()() for option in group]
            return {
                name: option
                for option in options
                for name in (option.dest, *(old.name for old in option.deprecated_opts))
                if name
            }
    return None


def _late(part: Part) -> Iterator[Finding]:
    """Warn of requests that pass without a confirmed identity."""
    value = _written(part).get("delay_auth_decision")
    if value is not None and value.text.strip().lower() in ("true", "1", "yes", "on"):
        problem = "with this, a Keystone that is away looks like a bad token: 401 instead of 503"
        yield Finding(part.place_of("delay_auth_decision"), problem, fatal=False)


def _without_client(part: Part) -> Iterator[Finding]:
    """Refuse to cache without a client of memcached; auth_token looks for it at a request."""
    value = _written(part).get("memcached_servers")
    if value is not None and value.text.strip() and importlib.util.find_spec("memcache") is None:
        problem = "this needs the distribution 'python-memcached', which is not installed"
        yield Finding(part.place_of("memcached_servers"), problem)


def _written(part: Part) -> Mapping[str, Value]:
    return {**part.given, **part.local}


def _login(part: Part) -> Finding | list[Any]:
    """Return the options of the plugin that auth_token logs in with, or why there is none."""
    # Imported only where it is in use; most deployments have no Keystone.
    from keystoneauth1 import exceptions, loading

    written = _written(part)
    value = written.get("auth_type") or written.get("auth_plugin")
    if value is None or not value.text.strip():
        if not _TAKES_MORE.isdisjoint(part.local):
            return []
        problem = "this option is required: how the filter logs in to Keystone, mostly password"
        return Finding(part.place_of("auth_type"), problem)
    try:
        plugin: Any = loading.get_plugin_loader(value.text)
    except exceptions.NoMatchingPlugin:
        guess = nearest(
            value.text,
            (point.name for point in installed.entry_points("keystoneauth1.plugin")),
        )
        problem = f"there is no way to log in called '{value.text}'{guess}"
        return Finding(value.place, problem)
    return list(plugin.get_options())


def _missing(part: Part, known: Mapping[str, Any], options: list[Any]) -> Iterator[Finding]:
    """Return the options that logging in needs and the file does not have."""
    if not _TAKES_MORE.isdisjoint(part.local):
        return
    written = _written(part)
    unknown = written.keys() - known.keys()
    for option in options:
        there = option.dest in written and written[option.dest].text.strip()
        if option.required and not there and not nearest(option.dest, unknown):
            yield Finding(part.place_of(option.dest), "this option is required")


def _value(part: Part, name: str, text: str, option: Any) -> Iterator[Finding]:
    parse = getattr(option, "type", str)
    try:
        parse(text)
    except ValueError as error:
        kind = f"expected {type(option.type).__name__.lower()}"
        problem = kind if option.secret else f"{text!r}: {kind} ({error})"
        yield Finding(part.place_of(name), problem)
