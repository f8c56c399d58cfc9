"""Every way to a container, for a client that is on its list and for one that is not.

A row is a request. The client that is not on the list sends it first: it must get what the row
says, must not see a byte of what is guarded, and must have changed nothing. Then the client that
is on the list sends the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.integration.swift.cluster import Proxy
from tests.integration.swift.curl import Answer, curl
from tests.integration.swift.lab import ALLOWED, DENIED, SECRET, Lab, Tokens
from tests.integration.swift.row import AS_SWIFT, Row
from tests.integration.swift.rows import JSON, TABLE, A

MESSAGE = b"IP Denied"


@pytest.fixture(scope="module")
def lab(plain: Proxy, token: Tokens) -> Lab:
    furnished = Lab(plain.url, token)
    furnished.furnish()
    return furnished


def check_denied(row: Row, answer: Answer, of_swift: Answer | None) -> None:
    """Compare with what the row says the client that is not on the list gets."""
    if of_swift is not None:
        assert answer.status == of_swift.status, answer
        if answer.status >= 400:
            assert answer.body == of_swift.body
        return
    assert answer.status == row.denied, answer
    assert SECRET not in answer.body
    assert not [name for name in answer.headers if "-meta-" in name]
    if row.denied == 403:
        assert answer.body == (b"" if row.method == "HEAD" else MESSAGE)
        assert "etag" not in answer.headers
    else:
        assert row.says in answer.body


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
def test_row(row: Row, lab: Lab, plain: Proxy, door: Callable[[str], str], token: Tokens) -> None:
    headers = {**token(row.who), **row.headers}
    path = row.path
    if "{version}" in path:
        path = path.format(version=lab.version_of("thing"))

    before = lab.look(row.untouched) if row.untouched else None
    denied = curl(door(DENIED) + path, row.method, headers, row.body)
    if before is not None:
        assert lab.look(row.untouched) == before
    # A request that only Swift refuses is sent to Swift as well; others would have effects there.
    as_swift = row.denied == AS_SWIFT and not row.untouched
    of_swift = curl(plain.url + path, row.method, headers, row.body) if as_swift else None
    if row.denied != AS_SWIFT or as_swift:
        check_denied(row, denied, of_swift)

    allowed = curl(door(ALLOWED) + path, row.method, headers, row.body)
    assert allowed.status == row.allowed, allowed
    assert row.shows in allowed.body
    if before is not None and row.allowed < 300 and "again" not in row.what:
        assert lab.look(row.untouched) != before


def test_a_segment_in_the_middle_is_not_sent(
    lab: Lab, door: Callable[[str], str], token: Tokens
) -> None:
    """The answer has begun when the guarded segment comes, and breaks off there."""
    answer = curl(door(DENIED) + f"{A}/open/mixed", headers=token("owner"))
    assert SECRET not in answer.body
    assert answer.status == 500 or answer.body == b"plain"
    answer = curl(door(ALLOWED) + f"{A}/open/mixed", headers=token("owner"))
    assert answer.body == b"plain" + SECRET


def test_a_manifest_does_not_take_guarded_segments_with_it(
    lab: Lab, door: Callable[[str], str], token: Tokens
) -> None:
    """A client that may delete the manifest may do that; its segments stay."""
    path = f"{A}/open/{{}}?multipart-manifest=delete"
    denied = curl(door(DENIED) + path.format("slo"), "DELETE", {**token("owner"), **JSON})
    errors = json.loads(denied.body)["Errors"]
    assert sorted(error[1] for error in errors) == ["403 Forbidden", "403 Forbidden"]
    assert lab.look(f"{A}/public/slo_1")[:2] == (200, SECRET)

    allowed = curl(door(ALLOWED) + path.format("slo-2"), "DELETE", {**token("owner"), **JSON})
    assert json.loads(allowed.body)["Errors"] == []
    assert lab.look(f"{A}/public/slo-2_1")[0] == 404
