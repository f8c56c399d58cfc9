"""Pages of collections: ``limit``, ``marker`` and the ``Link`` to the next page."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

import webob

from labapi.api.request import Request
from labapi.exceptions import InvalidInput


def limit_of(query: Mapping[str, str], maximum: int) -> int:
    """Return the size of the page that is asked for.

    :param maximum: the largest page, and the size if the query names none
    :raises InvalidInput: this is not a whole number of 1 or more
    """
    text = query.get("limit")
    if text is None:
        return maximum
    if not (text.isascii() and text.isdigit()) or int(text[:20]) < 1:
        raise InvalidInput(f"limit: {text[:64]!r} is not a whole number of 1 or more")
    return min(int(text[:20]), maximum)


def link_next(response: webob.Response, request: Request, marker: str | int) -> None:
    """Add the header that leads to the next page.

    :param marker: what the last item of this page is known by
    """
    query = [(name, value) for name, value in request.GET.items() if name != "marker"]
    query.append(("marker", str(marker)))
    response.headers["Link"] = f'<{request.path_url}?{urlencode(query)}>; rel="next"'
