"""The catalogues of hosts: plugins, methods, and what their parameters have to look like."""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import msgspec
from jsonschema.exceptions import SchemaError
from oslo_log import log
from referencing.exceptions import Unresolvable

from labapi import json_schema
from labapi.db.session import Record
from labapi.exceptions import InvalidInput
from labapi.known import there_is
from labapi.nesting import deeper_than
from labapi.scheduler.host_state import HostState

LOG = log.getLogger(__name__)

# What a schema does that is one by its form: it refers to nothing, or to itself without end, or
# divides by next to nothing.
_BROKEN = (Unresolvable, RecursionError, ArithmeticError, re.error, json_schema.TooExpensive)

# What an announced schema may cost the API: its size in bytes, its parts (each takes 0.1 ms once,
# to see whether it is a schema), its depth, and the keywords that are looked at for one case.
MAX_SCHEMA = 16384
MAX_PARTS = 1000
MAX_DEPTH = 64
MAX_STEPS = 2000
# Keywords whose own work is not bounded by their number: a pattern can take for ever, and so can
# what was evaluated before; a name that is referred to is looked for in the whole schema.
_UNBOUNDED = tuple(
    f'"{word}'.encode()
    for word in ("patternProperties", "unevaluated", "$anchor", "$dynamic", "$id", "$recursive")
)

# Announcements that stay decoded: agents with the same plugins announce the same text.
KEPT = 256
LARGE = 65536  # characters; what is larger is decoded each time, so that little memory is kept


class Method(msgspec.Struct, frozen=True):
    """One method of an announcement, its parts as JSON."""

    description: msgspec.Raw
    schema: msgspec.Raw


class Catalogue(NamedTuple):
    """What an announcement says.

    :ivar plugins: ``{plugin: {method: …}}``
    :ivar names: of the plugins, separated by commas
    :ivar descriptions: ``{plugin: {method: description}}`` as JSON
    :ivar problem: why it cannot be read; then it has no plugins
    """

    plugins: dict[str, dict[str, Method]]
    names: str
    descriptions: msgspec.Raw
    problem: str | None = None


NOTHING = Catalogue({}, "", msgspec.Raw(b"{}"))

_decode = msgspec.json.Decoder(dict[str, dict[str, Method]]).decode


def read(text: str) -> Catalogue:
    """Decode the plugins of a host, as the database keeps them."""
    return _kept(text) if len(text) <= LARGE else _read(text)


def _read(text: str) -> Catalogue:
    try:
        plugins = _decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return NOTHING._replace(problem=str(error))
    descriptions = {
        plugin: {name: method.description for name, method in methods.items()}
        for plugin, methods in plugins.items()
    }
    return Catalogue(plugins, ",".join(plugins), msgspec.Raw(msgspec.json.encode(descriptions)))


_kept = functools.lru_cache(maxsize=KEPT)(_read)


def check(host: Record | HostState, plugin: str, method: str, parameters: dict[str, Any]) -> None:
    """Check that a host has a method and that the parameters fit it.

    :raises InvalidInput: it does not, or they do not; the text lists what there is
    """
    problem = mismatch(schema_of(host, plugin, method), parameters)
    if problem is not None:
        raise InvalidInput(problem)


def schema_of(host: Record | HostState, plugin: str, method: str) -> bytes:
    """Return the schema that a host announces for a method.

    :raises InvalidInput: it does not have the method; the text lists what there is
    """
    announced = read(host.plugins)
    if announced.problem is not None:
        raise InvalidInput(f"host: what host {host.host} announces cannot be read")
    plugins = announced.plugins
    if plugin not in plugins:
        raise InvalidInput(
            f"plugin: host {host.host} has no plugin {plugin!r}; {there_is(plugins, plugin)}"
        )
    methods = plugins[plugin]
    if method not in methods:
        raise InvalidInput(
            f"method: plugin {plugin} has no method {method!r}; {there_is(methods, method)}"
        )
    return bytes(methods[method].schema)


def mismatch(schema: bytes, parameters: dict[str, Any]) -> str | None:
    """Say how parameters do not fit an announced schema; None: they do, or the agent judges."""
    validator = _validator(schema)
    if validator is None or validator.fits(parameters):
        return None
    try:
        with json_schema.within(MAX_STEPS):
            json_schema.check(validator, parameters, "parameters")
    except InvalidInput as error:
        return str(error)
    except _BROKEN as error:
        LOG.warning("an agent announces a schema that cannot be used: %r", error)
    return None


@functools.lru_cache(maxsize=1024)
def _validator(schema: bytes) -> json_schema.Schema | None:
    """Return what an announced schema says, None where the agent judges alone.

    The schema comes from an agent, so it may be wrong, or take for ever. What is not looked at
    here, the agent itself judges.
    """
    if schema == b"null":
        return None  # anything goes
    if not _is_bounded(schema):
        return None
    try:
        document = msgspec.json.decode(schema, type=dict)
    except (msgspec.DecodeError, RecursionError):
        return None
    # The schema itself is read as of the draft that agents use, and parts of it are not of others.
    drafts = 0 if document.pop("$schema", None) is None else 1
    if schema.count(b'"$schema"') > drafts or deeper_than(document, MAX_DEPTH):
        return None
    try:
        return json_schema.foreign(document)
    except SchemaError as error:
        LOG.warning("an agent announces a schema that is not valid: %r", error.message)
    except _BROKEN as error:
        LOG.warning("an agent announces a schema that cannot be checked: %r", error)
    return None


def _is_bounded(schema: bytes) -> bool:
    return (
        len(schema) <= MAX_SCHEMA
        and sum(map(schema.count, (b"{", b"[", b","))) <= MAX_PARTS
        and not any(word in schema for word in _UNBOUNDED)
    )
