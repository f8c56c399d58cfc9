"""Lists in system metadata, and containers that are closed by default."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.integration.swift.cluster import Cluster
from tests.integration.swift.curl import curl
from tests.integration.swift.door import Door
from tests.integration.swift.lab import ALLOWED, DENIED, SECRET, Lab, Tokens
from tests.integration.swift.page import documented

A = "/v1/AUTH_test"
PIPELINE, SECTIONS = documented()


@pytest.fixture(scope="module")
def closed(cluster: Cluster) -> Iterator[Callable[[str], str]]:
    """Closed by default, lists in system metadata."""
    options = "closed_by_default = true\nmetadata = system\ndeny_message = Not from there\n"
    proxy = cluster.start_proxy(
        "closed", PIPELINE, SECTIONS + options, default="require_proxy_protocol = true"
    )
    doors = {address: Door(address, proxy.port) for address in (ALLOWED, DENIED, "127.0.0.1")}
    yield lambda address: doors[address].url
    for opened in doors.values():
        opened.close()


OWNED = {"X-Container-Ip-Whitelist-Dev": ALLOWED}


def test_closed_by_default_with_system_metadata(
    lab: Lab, closed: Callable[[str], str], token: Tokens
) -> None:
    """The list is out of the users' sight and reach; what has none is closed."""
    mine = token("owner")
    answer = curl(closed(ALLOWED) + f"{A}/unlisted/thing", headers=mine)
    assert (answer.status, answer.body) == (403, b"Not from there")
    assert curl(closed("127.0.0.1") + f"{A}/unlisted/thing", headers=mine).status == 200

    made = curl(closed(ALLOWED) + f"{A}/owned", "PUT", {**mine, **OWNED})
    assert made.status == 201, made
    assert curl(closed(ALLOWED) + f"{A}/owned/a", "PUT", mine, SECRET).status == 201
    assert curl(closed(DENIED) + f"{A}/owned/a", headers=mine).status == 403
    sneaky = {**mine, "X-Container-Sysmeta-Ip-Whitelist-More": DENIED}
    assert curl(closed(ALLOWED) + f"{A}/owned", "POST", sneaky, b"").status == 204
    assert curl(closed(DENIED) + f"{A}/owned/a", headers=mine).status == 403

    by_owner = curl(closed(ALLOWED) + f"{A}/owned", "HEAD", mine)
    assert by_owner.headers["x-container-ip-whitelist-dev"] == ALLOWED
    assert "x-container-ip-whitelist-more" not in by_owner.headers

    wrong = {**mine, "X-Container-Ip-Whitelist-Dev": "nonsense"}
    assert curl(closed(ALLOWED) + f"{A}/owned", "POST", wrong, b"").status == 400
    more = {**mine, "X-Container-Ip-Whitelist-More": DENIED}
    assert curl(closed(ALLOWED) + f"{A}/owned", "POST", more, b"").status == 204
    assert curl(closed(DENIED) + f"{A}/owned/a", headers=mine).status == 200
    less = {**mine, "X-Container-Ip-Whitelist-More": ""}
    assert curl(closed(ALLOWED) + f"{A}/owned", "POST", less, b"").status == 204
    assert curl(closed(DENIED) + f"{A}/owned/a", headers=mine).status == 403


def test_system_lists_are_the_account_owners(
    lab: Lab, closed: Callable[[str], str], token: Tokens
) -> None:
    """A user who may only write to the account by its ACL can neither see nor set a list."""
    acl = json.dumps({"read-write": ["test2:tester2"]})
    lab.send("POST", A, {"X-Account-Access-Control": acl})
    try:
        lab.container("owned-2", {"X-Container-Meta-Colour": "red"})
        mine, theirs = token("owner"), token("other")
        own = closed("127.0.0.1")
        assert curl(own + f"{A}/owned-2", "POST", {**mine, **OWNED}, b"").status == 204
        seen = curl(closed(ALLOWED) + f"{A}/owned-2", "HEAD", theirs)
        assert seen.status == 204
        assert "x-container-ip-whitelist-dev" not in seen.headers
        more = {**theirs, "X-Container-Ip-Whitelist-More": DENIED}
        refused = curl(closed(ALLOWED) + f"{A}/owned-2", "POST", more, b"")
        assert refused.status == 403
        assert b"Only the owner" in refused.body
    finally:
        lab.send("POST", A, {"X-Account-Access-Control": ""})
