"""A proxy on the API's machine makes its clients look local, but each header of a proxy shows."""

from __future__ import annotations

from tests.attacks.filters.conftest import SHIPPED, Serve

HEADERS = {
    "X-Forwarded-For": "127.0.0.1",
    "x-forwarded-for": "127.0.0.1",
    "Forwarded": "for=127.0.0.1",
    "X-Real-IP": "127.0.0.1",
    "X-Client-IP": "127.0.0.1",
    "X-Cluster-Client-IP": "127.0.0.1",
    "True-Client-IP": "127.0.0.1",
    "CF-Connecting-IP": "127.0.0.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "localhost",
    "Via": "1.1 proxy",
}


def test_a_client_behind_a_proxy_is_not_local(serve: Serve) -> None:
    api = serve(SHIPPED)
    assert api.ask("/v2.1/slaves").status == 200
    for name, value in HEADERS.items():
        answer = api.ask("/v2.1/slaves", headers={name: value})
        assert answer.status == 403, name
        assert b"requests that come through a proxy are not served" in answer.body


def test_the_same_without_the_filter_proxy(serve: Serve) -> None:
    api = serve(SHIPPED.replace("\n    proxy\n", "\n"))
    for name, value in HEADERS.items():
        assert api.ask("/v2.1/slaves", headers={name: value}).status == 403, name
