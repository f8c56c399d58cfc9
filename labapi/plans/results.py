"""What the results of many come to."""

from __future__ import annotations

from collections.abc import Iterable

from labapi.case import Result

# From the best to the worst. Only FAIL is sure to speak of what is tested: after an ERROR nobody
# knows.
_ORDER = (Result.PASS, Result.ERROR, Result.CANCELLED, Result.TIMEOUT, Result.FAIL)
_BADNESS = {result: badness for badness, result in enumerate(_ORDER)}


def worst(results: Iterable[str | None]) -> Result | None:
    """Return the worst of results; None, of what has not run, counts for nothing.

    :returns: None if nothing has run
    """
    found = [Result(result) for result in results if result is not None]
    return max(found, key=_BADNESS.__getitem__, default=None)
