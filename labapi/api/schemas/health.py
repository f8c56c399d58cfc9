"""The body of ``PUT /slaves/{id}/health``."""

from __future__ import annotations

from labapi.json_schema import compiled

UPDATE = compiled(
    {
        "type": "object",
        "properties": {
            "health": {"enum": ["good", "bad"]},
            "reason": {"type": "string", "minLength": 1, "maxLength": 255},
        },
        "required": ["health"],
        "additionalProperties": False,
    }
)
