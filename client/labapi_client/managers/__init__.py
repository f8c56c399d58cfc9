"""One manager for each noun of the API: a file here, and a line in ``labapi_client/lab.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

from labapi_client.exceptions import BadAnswer, NotFound

if TYPE_CHECKING:
    from labapi_client.answer import Answer
    from labapi_client.lab import Lab

_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


class Manager:
    """What can be done with one noun.

    :cvar PATH: where the API has it
    :cvar NOUN: what one is called, in messages
    """

    PATH = ""
    NOUN = ""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def _pages(self, path: str, filters: Mapping[str, Any]) -> Iterator[Answer]:
        """Yield the pages of a collection, each when it is asked for."""
        query: Mapping[str, Any] = filters
        seen: set[str] = set()
        while True:
            page = self._lab.request("GET", path, query=query)
            yield page
            # Of the link only the query counts: requests go to this lab and to no other place.
            link = _NEXT.search(page.headers.get("Link", ""))
            if link is None:
                return
            query = _query(link[1], page)
            if str(query) in seen:
                raise BadAnswer("a page leads to itself", page.request_id)
            seen.add(str(query))

    def _item(self, name: str | int, *more: str) -> str:
        """Return the path of one of them, and of what is below it."""
        parts = [str(name), *more]
        if any(part in ("", ".", "..") for part in parts):
            raise NotFound(f"there is no {self.NOUN} {'/'.join(parts)!r}")
        return "/".join([self.PATH, *(quote(part, safe="") for part in parts)])


def _query(link: str, page: Answer) -> dict[str, list[str]]:
    """Return the query of a link.

    :raises BadAnswer: it is none
    """
    try:
        return parse_qs(urlsplit(link).query)
    except ValueError as error:
        message = f"the link to the next page cannot be read: {error}"
        raise BadAnswer(message, page.request_id) from None
