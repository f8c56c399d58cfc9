"""JSON Schema: whether one can be used, and whether parameters fit it.

Imported when it is first needed: the library takes 2.6 MiB, and an idle agent stays small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import referencing
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match

from labapi.exceptions import InvalidInput

SHOWN = 300  # characters of a validation error that a person is shown


def examine(schema: Mapping[str, Any]) -> None:
    """Check that this is a schema.

    :raises ValueError: it is not; the text says why
    """
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ValueError(str(error)) from error


class Checker:
    """Checks parameters.

    :param schema: what they must fit
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        # A registry of its own: the default one fetches what it does not know.
        self._validator = Draft202012Validator(schema, registry=referencing.Registry())

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Check that the parameters fit.

        :raises InvalidInput: they do not; the text says where and why
        """
        error = best_match(self._validator.iter_errors(parameters))
        if error is not None:
            where = ".".join(["parameters", *map(str, error.absolute_path)])
            raise InvalidInput(f"{where}: {error.message[:SHOWN]}")
