"""The bodies of ``POST /groups`` and ``PUT /groups/{id}``."""

from __future__ import annotations

from typing import Any

from labapi.api.schemas.metadata import MAX_ITEMS
from labapi.json_schema import MEANING, compiled

MAX_HOSTS = 10_000
MAX_PROJECTS = 1000

_NAME = {"type": "string", "minLength": 1, "maxLength": 64}
_PROPERTIES: dict[str, Any] = {
    # Not the form of a UUID: URLs name a group by either.
    "name": {
        "type": "string",
        "pattern": r"^(?![0-9a-fA-F]{8}-)[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
        MEANING: "a name: 1 to 64 letters, digits and ._-, a letter or digit first, no UUID",
    },
    "hosts": {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": 200},
        "maxItems": MAX_HOSTS,
    },
    "projects": {
        "type": "array",
        "items": {
            "type": "string",
            # MariaDB takes two that differ by blanks at the end for the same.
            "pattern": r"^(?=\S)[^\x00-\x1f\x7f]{1,255}(?<=\S)\Z",
            MEANING: "the id of a project: 1 to 255 characters on one line, no blank at its ends",
        },
        "maxItems": MAX_PROJECTS,
    },
    "metadata": {
        "type": "object",
        "propertyNames": {"pattern": r"^[A-Za-z0-9._:-]{1,255}\Z"},
        "additionalProperties": {"type": "string", "maxLength": 4096},
        "maxProperties": MAX_ITEMS,
    },
    "health_case": {
        "type": ["object", "null"],
        "properties": {
            "plugin": _NAME,
            "method": _NAME,
            "parameters": {"type": "object"},
            "timeout": {"type": "number", "exclusiveMinimum": 0},
        },
        "required": ["plugin", "method"],
        "additionalProperties": False,
    },
}
CHANGE = compiled(
    {"type": "object", "properties": _PROPERTIES, "minProperties": 1, "additionalProperties": False}
)
CREATE = compiled(
    {
        "type": "object",
        "properties": _PROPERTIES,
        "required": ["name"],
        "additionalProperties": False,
    }
)
