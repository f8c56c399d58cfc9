"""What a host's metadata hold, whatever is refused."""

from __future__ import annotations

import webob

from labapi.api.schemas.metadata import MAX_ITEMS
from tests.lab import Lab


def put(lab: Lab, path: str, items: dict[str, str], method: str = "PUT") -> webob.Response:
    request = webob.Request.blank(
        f"/v2.1/slaves/1/metadata{path}",
        method=method,
        json={"metadata": items},
        content_type="application/json",
        remote_addr="127.0.0.1",
    )
    return request.get_response(lab.app)


def test_what_is_refused_is_not_stored(lab: Lab) -> None:
    full = {f"key-{number}": "x" for number in range(MAX_ITEMS)}
    assert put(lab, "", full).status_code == 200
    refused = put(lab, "/one-more", {"one-more": "x"})
    assert refused.status_code == 400
    assert refused.json["badRequest"]["message"] == f"metadata: at most {MAX_ITEMS} items"
    ask = webob.Request.blank("/v2.1/slaves/1/metadata", remote_addr="127.0.0.1")
    assert ask.get_response(lab.app).json["metadata"] == full
    assert put(lab, "/key-0", {"key-0": "y"}).status_code == 200
