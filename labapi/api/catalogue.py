"""The catalogues of hosts: plugins, methods, and what their parameters have to look like."""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import msgspec
from jsonschema.exceptions import SchemaError
from oslo_log import log
from referencing.exceptions import Unresolvable

from labapi.api import lookup, schemas
from labapi.db.session import Record
from labapi.exceptions import InvalidInput

LOG = log.getLogger(__name__)

# What a schema does that is one by its form: it refers to nothing, or to itself without end, or
# divides by next to nothing.
_BROKEN = (Unresolvable, RecursionError, ArithmeticError, re.error)


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
    """

    plugins: dict[str, dict[str, Method]]
    names: str
    descriptions: msgspec.Raw


_decode = msgspec.json.Decoder(dict[str, dict[str, Method]]).decode


def read(text: str) -> Catalogue:
    """Decode the plugins of a host, as the database keeps them."""
    return _kept(text) if len(text) <= LARGE else _read(text)


def _read(text: str) -> Catalogue:
    plugins = _decode(text)
    descriptions = {
        plugin: {name: method.description for name, method in methods.items()}
        for plugin, methods in plugins.items()
    }
    return Catalogue(plugins, ",".join(plugins), msgspec.Raw(msgspec.json.encode(descriptions)))


_kept = functools.lru_cache(maxsize=KEPT)(_read)


def check(host: Record, plugin: str, method: str, parameters: dict[str, Any]) -> None:
    """Check that a host has a method and that the parameters fit it.

    :raises InvalidInput: it does not, or they do not; the text lists what there is
    """
    plugins = read(host.plugins).plugins
    if plugin not in plugins:
        raise InvalidInput(
            f"plugin: host {host.host} has no plugin {plugin!r}; {lookup.there_is(plugins, plugin)}"
        )
    methods = plugins[plugin]
    if method not in methods:
        raise InvalidInput(
            f"method: plugin {plugin} has no method {method!r}; {lookup.there_is(methods, method)}"
        )
    validator = _validator(bytes(methods[method].schema))
    if validator is not None:
        _check_parameters(validator, parameters)


def _check_parameters(validator: Any, parameters: dict[str, Any]) -> None:
    try:
        schemas.check(validator, parameters, "parameters")
    except _BROKEN as error:
        LOG.warning("an agent announces a schema that cannot be used: %r", error)


@functools.lru_cache(maxsize=1024)
def _validator(schema: bytes) -> Any:
    """Return the validator of an announced schema, None for ``null`` and for what is no schema.

    The schema comes from an agent, so it may be wrong, or have patterns that take for ever on the
    right text. What is not looked at here, the agent itself judges.
    """
    document = msgspec.json.decode(schema)
    if document is None:
        return None  # anything goes
    if b'"patternProperties"' in schema:
        return None  # a pattern can take for ever, and this one cannot be left out
    validator = schemas.without_patterns(document)
    try:
        validator.check_schema(document)
    except SchemaError as error:
        LOG.warning("an agent announces a schema that is none: %r", error.message)
        return None
    except RecursionError:
        LOG.warning("an agent announces a schema that is nested too deep")
        return None
    return validator
