"""How deep a document is nested."""

from __future__ import annotations

from typing import Any


def deeper_than(document: Any, limit: int) -> bool:
    """Say whether objects and arrays are nested deeper than ``limit`` levels; it never recurses."""
    level = [document]
    for _ in range(limit):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return any(isinstance(value, dict | list) for value in level)
