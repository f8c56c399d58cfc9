"""What hosts offer: plugins, methods, and what their parameters have to look like."""

from __future__ import annotations

import functools
import re
from typing import Any

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


def check(host: Record, plugin: str, method: str, parameters: dict[str, Any]) -> None:
    """Check that a host offers a method and that the parameters fit it.

    :raises InvalidInput: it does not, or they do not; the text lists what there is
    """
    if plugin not in host.plugins:
        raise InvalidInput(
            f"plugin: host {host.host} has no plugin {plugin!r};"
            f" {lookup.there_is(host.plugins, plugin)}"
        )
    methods = host.plugins[plugin]
    if method not in methods:
        raise InvalidInput(
            f"method: plugin {plugin} has no method {method!r}; {lookup.there_is(methods, method)}"
        )
    schema = methods[method]["schema"]
    if schema is not None:
        validator = _validator(msgspec.json.encode(schema, order="deterministic"))
        if validator is not None:
            _check_parameters(validator, parameters)


def _check_parameters(validator: Any, parameters: dict[str, Any]) -> None:
    try:
        schemas.check(validator, parameters, "parameters")
    except _BROKEN as error:
        LOG.warning("an agent announces a schema that cannot be used: %r", error)


@functools.lru_cache(maxsize=1024)
def _validator(schema: bytes) -> Any:
    """Return the validator of an announced schema, None for one that is no schema.

    The schema comes from an agent, so it may be wrong, or have patterns that take for ever on the
    right text. What is not looked at here, the agent itself judges.
    """
    document = msgspec.json.decode(schema)
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
