"""The other filters of this distribution in a Swift proxy: which are of use there, and how."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from tests.integration.swift.cluster import Cluster, Proxy
from tests.integration.swift.curl import curl
from tests.integration.swift.lab import ALLOWED, DENIED, SECRET, Lab, Tokens
from tests.integration.swift.page import documented
from tests.integration.swift.signed import s3

A = "/v1/AUTH_test"
PIPELINE, SECTIONS = documented()
PROXY = """
[filter:proxy]
use = egg:labapi-middleware#proxy
trusted_proxies = 127.0.0.1
"""
RATELIMIT = """
[filter:client_ratelimit]
use = egg:labapi-middleware#ratelimit
rule_reads = GET /v1/*: 5 per hour per address
rule_writes = PUT, POST, DELETE /v1/*: 1000 per hour per address
"""
FAULTWRAP = """
[filter:faultwrap]
use = egg:labapi-middleware#faultwrap
"""


ENCRYPTION = f"""
[filter:keymaster]
use = egg:swift#keymaster
encryption_root_secret = {base64.b64encode(bytes(32)).decode()}
[filter:encryption]
use = egg:swift#encryption
"""


@pytest.fixture(scope="module")
def behind(cluster: Cluster) -> Proxy:
    """A load balancer at 127.0.0.1 that names its clients in X-Forwarded-For."""
    pipeline = PIPELINE.replace("ip_whitelist", "proxy ip_whitelist")
    return cluster.start_proxy("behind", pipeline, SECTIONS + PROXY)


SPOOFS = [
    ("127.0.0.1", ALLOWED, 200),
    ("127.0.0.1", DENIED, 403),
    ("127.0.0.1", f"{ALLOWED}, {DENIED}", 403),
    ("127.0.0.1", f"{DENIED}, {ALLOWED}", 200),
    ("127.0.0.1", f"{ALLOWED}, nonsense", 403),  # not even as 127.0.0.1, an address of the proxy
    ("127.0.0.2", ALLOWED, 403),
    ("127.0.0.2", "127.0.0.1", 403),
]


@pytest.mark.parametrize(("peer", "header", "status"), SPOOFS)
def test_the_client_is_whom_a_trusted_proxy_names(
    lab: Lab, behind: Proxy, token: Tokens, peer: str, header: str, status: int
) -> None:
    sent = {**token("owner"), "X-Forwarded-For": header}
    answer = curl(f"{behind.url}{A}/kept/secret", headers=sent, interface=peer)
    assert answer.status == status


@pytest.fixture
def limited(cluster: Cluster) -> Iterator[Proxy]:
    pipeline = PIPELINE.replace("ip_whitelist", "client_ratelimit ip_whitelist")
    yield cluster.start_proxy("limited", pipeline, SECTIONS + RATELIMIT)
    cluster.stop("limited")


def test_ratelimit_counts_clients_and_not_what_swift_makes_of_them(
    lab: Lab, limited: Proxy, token: Tokens
) -> None:
    """A large object is one request, however many segments it has."""
    for part in range(8):
        lab.put(f"unlisted/part_{part}", b"x")
    lab.put("unlisted/large", b"", X_Object_Manifest="unlisted/part_")
    url, owner = f"{limited.url}{A}/unlisted/large", token("owner")
    for left in (4, 3, 2, 1, 0):
        answer = curl(url, headers=owner, interface="127.0.0.2")
        assert (answer.status, answer.body) == (200, b"x" * 8)
        assert f'"reads";r={left}' in answer.headers["ratelimit"]
    refused = curl(url, headers=owner, interface="127.0.0.2")
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) > 0
    assert json.loads(refused.body)["overLimit"]["code"] == 429
    assert curl(url, headers=owner, interface="127.0.0.3").status == 200


def test_faultwrap_works_but_takes_the_form_of_swifts_errors_away(
    cluster: Cluster, lab: Lab, token: Tokens
) -> None:
    """Why docs/swift.md advises against it."""
    pipeline = PIPELINE.replace("catch_errors", "catch_errors faultwrap")
    proxy = cluster.start_proxy(
        "wrapped", pipeline.replace(" tempauth ", " s3api tempauth "), SECTIONS + FAULTWRAP
    )
    answer = curl(f"{proxy.url}{A}/kept/secret", headers=token("owner"))
    assert answer.body == SECRET
    answer = curl(f"{proxy.url}{A}/kept/nothing", headers=token("owner"))
    assert json.loads(answer.body)["itemNotFound"]["code"] == 404
    signed = s3("GET", "/kept/nothing", "test:tester", "testing")
    answer = curl(f"{proxy.url}/kept/nothing", headers=signed)
    assert answer.status == 404
    assert b"<Error>" not in answer.body


def test_encryption(cluster: Cluster, lab: Lab, token: Tokens) -> None:
    """It stands to the right of everything, and what it is made of is more than one filter."""
    pipeline = PIPELINE.replace("symlink", "symlink keymaster encryption")
    sections = SECTIONS + "allow_own_addresses = false\n" + ENCRYPTION
    url = cluster.start_proxy("encrypting", pipeline, sections).url + f"{A}/encrypted/secret"
    lab.container("encrypted", {"X-Container-Meta-Allow-Dev": "127.0.0.2"})
    owner = token("owner")
    for address, put, got in (("127.0.0.3", 403, 403), ("127.0.0.2", 201, 200)):
        assert curl(url, "PUT", owner, SECRET, interface=address).status == put
        assert curl(url, headers=owner, interface=address).status == got
    assert curl(url, headers=owner, interface="127.0.0.2").body == SECRET
    assert curl(url, headers=owner, interface="127.0.0.3").status == 403
    assert lab.look(f"{A}/encrypted/secret")[1] != SECRET
