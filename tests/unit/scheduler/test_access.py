"""Allow-lists mean the same to the scheduler as to the filter ``ip_whitelist``."""

from __future__ import annotations

import ipaddress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from labapi.scheduler import addresses
from labapi.scheduler.filters import access
from labapi.scheduler.spec import Access
from labapi_middleware import addresses as theirs
from labapi_middleware import allow_rules
from labapi_middleware.allow_rules import Client, Rules
from tests.unit.scheduler.hosts import host, request

ADDRESS = st.sampled_from(
    ["10.1.2.3", "::ffff:10.1.2.3", " 10.1.2.3 ", "fe80::1%eth0", "2001:db8::7", "", "nobody"]
) | st.ip_addresses().map(str)
NETWORK = st.sampled_from(
    [
        "10.0.0.0/8",
        "10.1.2.3/8",
        "::ffff:10.0.0.0/104",
        "::/0",
        "0.0.0.0/0",
        "2001:db8::/32",
        "::ffff:0:0/95",
        "10.1.2.3",
        "fe80::1%eth0",
        "x",
        "10.0.0.0/255.0.0.0",
    ]
) | st.sampled_from(["", " "])
LIST = st.lists(NETWORK | ADDRESS, max_size=3).map(",".join) | st.just("10.0.0.0/8," * 500)
METADATA = st.dictionaries(st.sampled_from(["allow", "ALLOW-x", "rack", "allo"]), LIST)


@given(METADATA, ADDRESS | st.none(), st.sampled_from(["allow", "a", ""]), st.booleans())
@example({"allow": "::ffff:10.0.0.0/104"}, "10.9.9.9", "allow", False)
@settings(max_examples=300)
def test_both_let_the_same_clients_in(
    metadata: dict[str, str], client: str | None, prefix: str, closed: bool
) -> None:
    rules = Rules(prefix=prefix, closed_by_default=closed)
    address = addresses.parse_address(client) if client else None
    denied = rules.denied(Client(client or "", address, True), metadata)
    asked = request(client=client, access=Access(prefix=prefix, closed_by_default=closed))
    assert access.lets_in(host("h-1", metadata=metadata), asked) is (denied is None)


@given(METADATA, ADDRESS)
def test_both_let_operators_in_everywhere(metadata: dict[str, str], client: str) -> None:
    everywhere = theirs.Networks([ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")])
    rules = Rules(operators=everywhere, closed_by_default=True)
    denied = rules.denied(Client(client, addresses.parse_address(client), True), metadata)
    asked = request(client=client, access=Access("allow", everywhere=True, closed_by_default=True))
    assert access.lets_in(host("h-1", metadata=metadata), asked) is (denied is None)


@given(ADDRESS)
def test_both_read_the_same_addresses(text: str) -> None:
    try:
        expected = theirs.parse_address(text)
    except ValueError:
        expected = None
    assert addresses.parse_address(text) == expected


@given(NETWORK)
def test_both_read_the_same_networks(text: str) -> None:
    try:
        expected = theirs.parse_network(text)
    except ValueError:
        expected = None
    try:
        found = addresses.parse_network(text)
    except ValueError:
        found = None
    assert found == expected


def test_both_have_the_same_bounds() -> None:
    assert addresses.MAX_LIST == allow_rules.MAX_LIST
