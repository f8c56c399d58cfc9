"""The body of ``PUT /services/{id}``."""

from __future__ import annotations

from labapi.json_schema import compiled

UPDATE = compiled(
    {
        "type": "object",
        "properties": {
            "status": {"enum": ["enabled", "disabled"]},
            "disabled_reason": {"type": "string", "minLength": 1, "maxLength": 255},
        },
        "required": ["status"],
        "additionalProperties": False,
    }
)
