"""What stands in a table, whoever wrote it."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return a text with ? for what would speak to the terminal (escape sequences, new lines)."""
    return "".join(c if c.isprintable() else "?" for c in text)
