"""The body of ``POST /testcases``."""

from __future__ import annotations

from labapi.api.schemas import compiled

_NAME = {"type": "string", "minLength": 1, "maxLength": 64}

CREATE = compiled(
    {
        "type": "object",
        "properties": {
            "plugin": _NAME,
            "method": _NAME,
            "host": {"type": "string", "minLength": 1, "maxLength": 200},
            "parameters": {"type": "object"},
            "timeout": {"type": "number", "exclusiveMinimum": 0},
            "priority": {"type": "integer", "minimum": -100, "maximum": 100},
            "rerun_on_loss": {"type": "boolean"},
        },
        "required": ["plugin", "host", "method"],
        "additionalProperties": False,
    }
)
