"""What there is, told where something else was asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SHOWN = 20  # names listed in an error
# So many names are compared with the one that is not known: it takes 50 µs for each, and agents
# announce as many as they like.
COMPARED = 500


def there_is(names: Iterable[str], wanted: str = "") -> str:
    """Say what there is, and what of it may be meant, for an error's text."""
    known = sorted(names)
    if not known:
        return "there is none yet"
    nearest = difflib.get_close_matches(wanted, known[:COMPARED], 1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    more = ", …" if len(known) > SHOWN else ""
    return f"known: {', '.join(known[:SHOWN])}{more}{hint}"
