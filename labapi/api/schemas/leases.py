"""The bodies of ``POST /leases`` and ``PUT /leases/{id}``."""

from __future__ import annotations

from typing import Any

from labapi.json_schema import MEANING, compiled

MAX_HOSTS = 1000
MAX_KEYS = 32

_TIME: dict[str, Any] = {
    "seconds": {"type": "number", "exclusiveMinimum": 0},
    "until": {"type": "string", "minLength": 1, "maxLength": 64},
}
CREATE = compiled(
    {
        "type": "object",
        "properties": {
            "hosts": {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": 200},
                "minItems": 1,
                "maxItems": MAX_HOSTS,
            },
            "count": {"type": "integer", "minimum": 1, "maximum": MAX_HOSTS},
            "requires": {"type": "array", "items": {"type": "string"}},
            "group": {"type": "string", "minLength": 1, "maxLength": 64},
            "zone": {"type": "string", "minLength": 1, "maxLength": 64},
            "note": {
                "type": "string",
                # Administrators see it, and perhaps on a terminal.
                "pattern": r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]{1,255}\Z",
                MEANING: "a text of 1 to 255 characters on one line, without control characters",
            },
            "keys": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "maxItems": MAX_KEYS,
            },
            **_TIME,
        },
        "additionalProperties": False,
    }
)
RENEW = compiled({"type": "object", "properties": _TIME, "additionalProperties": False})
