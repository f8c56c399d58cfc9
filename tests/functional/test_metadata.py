"""What a host's metadata hold, whatever is refused."""

from __future__ import annotations

import webob

from labapi.api.schemas.metadata import MAX_ITEMS
from tests.lab import Lab, ask


def put(lab: Lab, path: str, items: dict[str, str], method: str = "PUT") -> webob.Response:
    return ask(lab.app, f"/slaves/1/metadata{path}", {"metadata": items}, method=method)


def test_what_is_refused_is_not_stored(lab: Lab) -> None:
    full = {f"key-{number}": "x" for number in range(MAX_ITEMS)}
    assert put(lab, "", full).status_code == 200
    refused = put(lab, "/one-more", {"one-more": "x"})
    assert refused.status_code == 400
    assert refused.json["badRequest"]["message"] == f"metadata: at most {MAX_ITEMS} items"
    assert ask(lab.app, "/slaves/1/metadata").json["metadata"] == full
    assert put(lab, "/key-0", {"key-0": "y"}).status_code == 200
