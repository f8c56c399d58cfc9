"""Servers that are down, and what is known of lists meanwhile."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.integration.swift.cluster import Cluster, Proxy
from tests.integration.swift.curl import curl
from tests.integration.swift.lab import ALLOWED, DENIED, LIST, SECRET, Lab, Tokens
from tests.integration.swift.page import documented

A = "/v1/AUTH_test"
PIPELINE, SECTIONS = documented()


@pytest.fixture
def outage(cluster: Cluster, plain: Proxy, token: Tokens) -> Iterator[Callable[[str], None]]:
    """Stop a backend server, with nothing left in the cache; start it again at the end."""
    stopped: list[str] = []

    def stop(kind: str) -> None:
        cluster.stop(kind)
        stopped.append(kind)
        cluster.flush_cache()
        token.forget()

    yield stop
    for kind in stopped:
        cluster.start_backend(kind)
    cluster.flush_cache()
    token.forget()


@pytest.mark.parametrize("kind", ["container", "account"])
@pytest.mark.parametrize("address", [ALLOWED, DENIED])
def test_nobody_is_let_in_on_trust(
    lab: Lab,
    door: Callable[[str], str],
    token: Tokens,
    outage: Callable[[str], None],
    kind: str,
    address: str,
) -> None:
    """With a server down nobody knows what lists there are, not even that there are none."""
    outage(kind)
    for path in ("kept/secret", "kept", "unlisted/thing"):
        for method in ("GET", "HEAD"):
            answer = curl(door(address) + f"{A}/{path}", method, token("owner"))
            assert answer.status == 503, answer
    answer = curl(door(address) + f"{A}/kept/secret", "PUT", token("owner"), b"x")
    assert answer.status == 503
    answer = curl(door(address) + f"{A}/kept/secret", "GET")
    assert answer.status in (401, 503)


def test_a_503_says_when_to_try_again_and_is_logged(
    lab: Lab,
    guarded: Proxy,
    door: Callable[[str], str],
    token: Tokens,
    outage: Callable[[str], None],
) -> None:
    outage("account")
    answer = curl(door(ALLOWED) + f"{A}/kept/secret", headers=token("owner"))
    assert answer.status == 503
    assert answer.headers["retry-after"] == "5"
    assert SECRET not in answer.body
    lines = [line for line in guarded.log.splitlines() if answer.headers["x-trans-id"] in line]
    assert [line for line in lines if f"{ALLOWED} GET {A}/kept/secret unavailable" in line]


def test_what_is_known_still_counts(
    lab: Lab,
    cluster: Cluster,
    door: Callable[[str], str],
    token: Tokens,
) -> None:
    """With the container server down, what memcached has of the lists decides."""
    for address, status in ((ALLOWED, 200), (DENIED, 403)):
        assert curl(door(address) + f"{A}/kept/secret", headers=token("owner")).status == status
    cluster.stop("container")
    try:
        for address, status in ((ALLOWED, 200), (DENIED, 403)):
            answer = curl(door(address) + f"{A}/kept/secret", headers=token("owner"))
            assert answer.status == status
    finally:
        cluster.start_backend("container")


BEHIND_ITS_BACK = """
import sys
from swift.common import utils
utils.HASH_PATH_PREFIX = utils.HASH_PATH_SUFFIX = b"loopback"
from swift.common.direct_client import direct_post_container
from swift.common.ring import Ring
etc, container, key, value = sys.argv[1:]
part, nodes = Ring(etc, ring_name="container").get_nodes("AUTH_test", container)
direct_post_container(nodes[0], part, "AUTH_test", container, headers={key: value})
"""


def test_a_list_that_is_changed_behind_the_proxies(
    lab: Lab, cluster: Cluster, door: Callable[[str], str], token: Tokens
) -> None:
    """What memcached knows counts for objects, what is there for the container itself."""
    lab.container("aside")
    lab.put("aside/secret")
    url, owner = door(DENIED) + f"{A}/aside", token("owner")
    assert curl(f"{url}/secret", headers=owner).status == 200
    ((key, value),) = LIST.items()
    script = [cluster.bin / "python", "-c", BEHIND_ITS_BACK]
    subprocess.run([*script, cluster.home / "etc", "aside", key, value], check=True, timeout=180)
    assert curl(f"{url}/secret", headers=owner).status == 200
    assert curl(url, "HEAD", headers=owner).status == 403
    assert curl(f"{url}/secret", headers=owner).status == 403  # what was read is known to all


def test_a_list_that_is_changed_counts_at_once(
    lab: Lab, door: Callable[[str], str], token: Tokens
) -> None:
    """Proxies of one memcached: a change through one is known to the others."""
    lab.container("changing")
    lab.put("changing/secret")
    url = door(DENIED) + f"{A}/changing/secret"
    for headers, status in [
        ({}, 200),
        (LIST, 403),
        ({"X-Container-Meta-Allow-Dev": "198.51.100.0/24"}, 200),
        (LIST, 403),
        ({"X-Remove-Container-Meta-Allow-Dev": "x"}, 200),
    ]:
        lab.send("POST", f"{A}/changing", headers)
        assert curl(url, headers=token("owner")).status == status
