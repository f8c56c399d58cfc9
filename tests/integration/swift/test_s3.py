"""The S3 API in front of the same containers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration.swift.cluster import Cluster
from tests.integration.swift.curl import curl
from tests.integration.swift.door import Door
from tests.integration.swift.lab import ALLOWED, DENIED, Lab
from tests.integration.swift.page import documented
from tests.integration.swift.signed import s3

A = "/v1/AUTH_test"
PIPELINE, SECTIONS = documented()


@pytest.fixture(scope="module")
def s3_door(cluster: Cluster) -> Iterator[Callable[[str], str]]:
    pipeline = PIPELINE.replace(" tempauth ", " s3api tempauth ")
    proxy = cluster.start_proxy("s3", pipeline, SECTIONS, default="require_proxy_protocol = true")
    doors = {address: Door(address, proxy.port) for address in (ALLOWED, DENIED)}
    yield lambda address: doors[address].url
    for opened in doors.values():
        opened.close()


S3 = [
    ("GET", "/kept/secret", {}, 200),
    ("HEAD", "/kept/secret", {}, 200),
    ("PUT", "/kept/by-s3", {}, 200),
    ("PUT", "/unlisted/by-s3", {"x-amz-copy-source": "/kept/secret"}, 200),
    ("PUT", "/kept/by-s3", {"x-amz-copy-source": "/unlisted/thing"}, 200),
    ("DELETE", "/kept/by-s3", {}, 204),
    ("GET", "/kept", {}, 200),
    ("HEAD", "/kept", {}, 200),
]


@pytest.mark.parametrize(("method", "path", "amz", "status"), S3)
def test_s3(
    lab: Lab,
    s3_door: Callable[[str], str],
    method: str,
    path: str,
    amz: dict[str, str],
    status: int,
) -> None:
    signed = s3(method, path, "test:tester", "testing", amz)
    body = b"" if method == "PUT" else None
    denied = curl(s3_door(DENIED) + path, method, signed, body)
    assert denied.status == 403, denied
    if method != "HEAD":
        assert b"<Code>AccessDenied</Code>" in denied.body
    allowed = curl(s3_door(ALLOWED) + path, method, signed, body)
    assert allowed.status == status, allowed
    other = curl(
        s3_door(DENIED) + "/unlisted/thing",
        "GET",
        s3("GET", "/unlisted/thing", "test:tester", "testing"),
    )
    assert other.body == b"thing"
