"""What to say about an option that a filter does not have."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def unknown(given: str, known: Sequence[str]) -> str:
    """Return what is wrong with an option that no name in ``known`` covers."""
    nearest = difflib.get_close_matches(given, known, 1)
    if not nearest and any(name.endswith("*") for name in known):
        # rul_posts is nearer to rule_* than its length lets it seem.
        head = given.partition("_")[0] + "_*"
        nearest = difflib.get_close_matches(head, known, 1)
    if nearest:
        return f"there is no such option; did you mean '{nearest[0]}'?"
    options = ", ".join(sorted(known))
    return f"there is no such option; known: {options}" if options else "this filter has no options"
