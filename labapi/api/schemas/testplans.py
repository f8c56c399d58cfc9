"""The bodies of ``/testplans``.

An entry of a plan is the body of a case, but for what plans say otherwise.
"""

from __future__ import annotations

from labapi.api.schemas import testcases
from labapi.json_schema import compiled
from labapi.plans.fields import Fields

_PROPERTIES = {
    name: schema
    for name, schema in testcases.CREATE.schema["properties"].items()
    if name != "count"  # matrices and lists of hosts say how many cases an entry has
}

RERUN = compiled(
    {
        "type": "object",
        "properties": {"only": {"enum": ["failed"]}},
        "additionalProperties": False,
    }
)


def fields() -> Fields:
    """Return what checks the fields of the entries of one plan."""
    return Fields(_PROPERTIES)
