"""Questions to the database that one request asks again and again, asked once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from labapi.db.session import Database

T = TypeVar("T")


class Once:
    """A database as it was when a request asked first; for reading, during one request."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[Any, bytes], Any] = {}

    def read(self, query: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return what a query says, as it did the first time.

        :param args: JSON
        """
        key = (query, msgspec.json.encode((args, kwargs)))
        if key not in self._known:
            self._known[key] = self._database.read(query, *args, **kwargs)
        found: T = self._known[key]
        return found
