"""What is known of filters of other projects, which say nothing of themselves to Paste.

Those of OpenStack describe their options to oslo.config; the plugins with which auth_token logs in
describe theirs to keystoneauth.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import Any

from labapi.pipeline.check.file import Finding, nearest
from labapi.pipeline.check.parts import Part
from labapi.pipeline.contract import IDENTITY

AUTH_TOKEN = "keystonemiddleware.auth_token"  # noqa: S105 - a module

# What they give, by the beginning of the module's name; of others nobody knows.
_GIVES = {AUTH_TOKEN: IDENTITY, "keystonemiddleware.audit": "", "oslo_middleware.": ""}
# Where a filter takes more from, and what it is called in the log.
_ABOUT_ITSELF = {"oslo_config_project", "oslo_config_file", "oslo_config_program", "log_name"}


def gives(part: Part) -> str | None:
    """Return what a filter gives those to its right, None if nobody knows."""
    said = part.told("gives")
    if said is not None:
        return str(said)
    module = str(part.told("__module__", ""))
    return next((what for start, what in _GIVES.items() if module.startswith(start)), None)


def check(part: Part) -> Iterator[Finding]:
    """Return what is wrong with the options of a filter that oslo.config knows."""
    module = str(part.told("__module__", ""))
    known = _described(module)
    if known is None:
        return
    if module.startswith(AUTH_TOKEN):
        wrong = list(_login(part, known))
        yield from wrong
        if wrong:
            return  # the other options belong to a plugin that is not known
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
    for point in metadata.entry_points(group="oslo.config.opts"):
        if point.name in names:
            options = [option for _, group in point.load()() for option in group]
            return {
                name: option
                for option in options
                for name in (option.dest, *(old.name for old in option.deprecated_opts))
                if name
            }
    return None


def _login(part: Part, known: dict[str, Any]) -> Iterator[Finding]:
    """Add the options of the plugin that auth_token logs in with."""
    # Imported only where it is in use; most deployments have no Keystone.
    from keystoneauth1 import exceptions, loading

    value = part.local.get("auth_type") or part.local.get("auth_plugin")
    if value is None:
        return
    try:
        plugin: Any = loading.get_plugin_loader(value.text)
    except exceptions.NoMatchingPlugin:
        guess = nearest(
            value.text,
            (point.name for point in metadata.entry_points(group="keystoneauth1.plugin")),
        )
        yield Finding(value.place, f"there is no way to log in called '{value.text}'{guess}")
        return
    for option in plugin.get_options():
        for name in (option.dest, *(old.dest for old in option.deprecated)):
            known.setdefault(name, option)


def _value(part: Part, name: str, text: str, option: Any) -> Iterator[Finding]:
    parse = getattr(option, "type", str)
    try:
        parse(text)
    except ValueError as error:
        kind = f"expected {type(option.type).__name__.lower()}"
        problem = kind if option.secret else f"{text!r}: {kind} ({error})"
        yield Finding(part.place_of(name), problem)
