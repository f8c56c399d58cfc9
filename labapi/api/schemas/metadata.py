"""The body of ``PUT /slaves/{id}/metadata``."""

from __future__ import annotations

from labapi.json_schema import compiled

MAX_ITEMS = 128

METADATA = compiled(
    {
        "type": "object",
        "properties": {
            "metadata": {
                "type": "object",
                "propertyNames": {"pattern": r"^[A-Za-z0-9._:-]{1,255}\Z"},
                "additionalProperties": {"type": "string", "maxLength": 4096},
                "maxProperties": MAX_ITEMS,
            }
        },
        "required": ["metadata"],
        "additionalProperties": False,
    }
)
