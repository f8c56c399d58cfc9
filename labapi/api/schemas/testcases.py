"""The body of ``POST /testcases``."""

from __future__ import annotations

from labapi.json_schema import compiled
from labapi.scheduler.spec import OnNoHost

_NAME = {"type": "string", "minLength": 1, "maxLength": 64}
_LIST = {"type": "array"}  # what is in it is looked at where it is read, by then in bounds

CREATE = compiled(
    {
        "type": "object",
        "properties": {
            "plugin": _NAME,
            "method": _NAME,
            "host": {"type": "string", "minLength": 1, "maxLength": 200},
            "hosts": {"type": ["array", "string"]},
            "count": {"type": "integer"},
            "requires": _LIST,
            "prefer": _LIST,
            "group": _NAME,
            "zone": _NAME,
            "lease": {"type": "string", "minLength": 1, "maxLength": 64},
            "same_host_as": _LIST,
            "different_host_from": _LIST,
            "on_no_host": {"enum": [word.value for word in OnNoHost]},
            "parameters": {"type": "object"},
            "timeout": {"type": "number", "exclusiveMinimum": 0},
            "priority": {"type": "integer", "minimum": -100, "maximum": 100},
            "rerun_on_loss": {"type": "boolean"},
        },
        "required": ["plugin", "method"],
        "additionalProperties": False,
    }
)
