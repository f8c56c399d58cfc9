"""The rules of ``ip_whitelist``: pure, so every odd value can be tried."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labapi_middleware.addresses import networks
from labapi_middleware.allow_rules import MAX_LIST, Client, Rules, client_of, problem, read_list
from labapi_middleware.own_addresses import OwnAddresses


def who(address: str, **headers: str) -> Client:
    return client_of({"REMOTE_ADDR": address, **headers})


LISTS = [
    # value, who is in, who is not
    ("198.51.100.12", ["198.51.100.12", "::ffff:198.51.100.12"], ["198.51.100.13", "::1"]),
    ("198.51.100.0/24", ["198.51.100.0", "198.51.100.255"], ["198.51.101.0"]),
    (" 10.0.0.1 ,, 10.0.0.3 ", ["10.0.0.1", "10.0.0.3"], ["10.0.0.2"]),
    ("2001:db8::/32", ["2001:db8::1", "2001:0DB8::1"], ["2001:db9::1", "10.0.0.1"]),
    ("::ffff:10.0.0.0/104", ["10.0.0.1", "::ffff:10.9.9.9"], ["11.0.0.1"]),
    ("0.0.0.0/0", ["10.0.0.1"], ["2001:db8::1"]),
    ("::/0", ["2001:db8::1"], ["10.0.0.1"]),
    ("", [], ["10.0.0.1"]),
    ("everybody", [], ["10.0.0.1"]),
    ("10.0.0.1/8", [], ["10.0.0.1"]),  # host bits: what is meant is not clear
    ("010.0.0.1", [], ["10.0.0.1", "8.0.0.1"]),  # octal or not is not clear
    ("10.0.0.1 10.0.0.2", [], ["10.0.0.1"]),
    ("10.0.0.1, nonsense", ["10.0.0.1"], ["10.0.0.2"]),
    ("*", [], ["10.0.0.1"]),
    ("10.0.0.1," * MAX_LIST, [], ["10.0.0.1"]),
]


@pytest.mark.parametrize(("value", "inside", "outside"), LISTS)
def test_a_list_lets_in_who_is_on_it(value: str, inside: list[str], outside: list[str]) -> None:
    rules = Rules()
    for client in inside:
        assert rules.denied(who(client), {"allow-dev": value}) is None
    for client in outside:
        assert rules.denied(who(client), {"allow-dev": value})


@pytest.mark.parametrize("client", ["", "unknown", "10.0.0.1:80", "10.0.0.256", "10.0.0.1,::1"])
def test_a_client_without_a_readable_address_is_on_no_list(client: str) -> None:
    rules = Rules(operators=networks("0.0.0.0/0, ::/0"), own=OwnAddresses())
    assert rules.denied(who(client), {"allow": "0.0.0.0/0, ::/0"})
    assert rules.denied(who(client), {"colour": "red"}) is None
    assert Rules(allow=networks("0.0.0.0/0, ::/0")).outside(who(client))
    assert Rules(closed_by_default=True).denied(who(client), {})


@pytest.mark.parametrize("key", ["allow", "allow-dev", "Allow-Dev", "ALLOWED", "allow_x"])
def test_every_key_with_the_prefix_is_a_list(key: str) -> None:
    assert Rules().denied(who("10.0.0.1"), {key: "10.0.0.2", "colour": "red"})
    assert Rules(prefix="Allow").denied(who("10.0.0.1"), {key: "10.0.0.2"})


def test_one_of_several_lists_is_enough() -> None:
    lists = {"allow-a": "10.0.0.1", "allow-b": "10.0.0.2", "allow-c": "typo"}
    rules = Rules()
    assert rules.denied(who("10.0.0.1"), lists) is None
    assert rules.denied(who("10.0.0.2"), lists) is None
    assert rules.denied(who("10.0.0.3"), lists) == "not in allow-a, allow-b, allow-c"


@pytest.mark.parametrize("metadata", [{}, {"colour": "red"}, {"disallow": "10.0.0.1"}])
def test_without_a_list_it_is_open_unless_closed_by_default(metadata: dict[str, str]) -> None:
    assert Rules().denied(who("10.0.0.1"), metadata) is None
    assert Rules(closed_by_default=True).denied(who("10.0.0.1"), metadata)


def test_own_addresses_and_operators_are_let_in_everywhere() -> None:
    rules = Rules(
        allow=networks("10.0.0.0/8"),
        operators=networks("192.0.2.0/24"),
        own=OwnAddresses(),
        closed_by_default=True,
    )
    for client in ("192.0.2.9", "127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert rules.outside(who(client)) is None
        assert rules.denied(who(client), {"allow": "10.1.1.1"}) is None
        assert rules.denied(who(client), {}) is None
    assert rules.outside(who("10.2.2.2")) is None
    assert rules.outside(who("11.2.2.2")) == "not in the option 'allow'"
    assert Rules(allow=networks("10.0.0.0/8")).outside(who("127.0.0.1"))


@pytest.mark.parametrize(
    "sign",
    [
        "HTTP_X_FORWARDED_FOR",
        "HTTP_FORWARDED",
        "HTTP_X_REAL_IP",
        "HTTP_X_CLUSTER_CLIENT_IP",
        "HTTP_X_FORWARDED_PROTO",
        "HTTP_TRUE_CLIENT_IP",
        "HTTP_CF_CONNECTING_IP",
        "HTTP_VIA",
        "labapi.forwarded_unbelieved",
    ],
)
def test_a_proxy_on_this_machine_is_not_let_in_for_its_clients(sign: str) -> None:
    behind = who("127.0.0.1", **{sign: "127.0.0.1"})
    assert Rules(own=OwnAddresses()).denied(behind, {"allow": "10.0.0.1"})
    assert Rules(own=OwnAddresses()).denied(behind, {"allow": "127.0.0.1"}) is None
    assert Rules(operators=networks("127.0.0.1")).denied(behind, {"allow": "10.0.0.1"}) is None


def test_a_key_cannot_forge_a_log_line() -> None:
    reason = Rules().denied(who("10.0.0.1"), {"allow-\r\nx denied: y": "10.0.0.2"})
    assert reason is not None
    assert "\n" not in reason
    assert "\r" not in reason


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", None),
        ("10.0.0.1", None),
        ("10.0.0.0/8, 2001:db8::/32", None),
        ("10.0.0.1/8", "host bits"),
        ("10.0.0.1/8", "did you mean '10.0.0.0/8'"),
        ("nonsense", "'nonsense' is not an address or network"),
        ("10.0.0.1, nonsense", "'nonsense'"),
        ("1" * (MAX_LIST + 1), f"at most {MAX_LIST} characters"),
    ],
)
def test_a_malformed_list_is_reported(value: str, told: str | None) -> None:
    found = problem(value)
    if told is None:
        assert found is None
    else:
        assert found is not None
        assert told in found
    assert Rules().problem("allow-dev", value) == found
    assert Rules().problem("colour", value) is None


ADDRESSES = st.ip_addresses()


def _as_ipv4(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Two spellings of one client: what an IPv6 listener says of IPv4 is that IPv4."""
    return getattr(address, "ipv4_mapped", None) or address


@given(ADDRESSES, st.lists(ADDRESSES, max_size=5))
def test_a_list_of_addresses_lets_in_exactly_these(
    client: ipaddress.IPv4Address | ipaddress.IPv6Address,
    listed: list[ipaddress.IPv4Address | ipaddress.IPv6Address],
) -> None:
    value = ", ".join(str(address) for address in listed)
    denied = Rules().denied(who(str(client)), {"allow": value})
    assert (denied is None) == (_as_ipv4(client) in map(_as_ipv4, listed))


@given(st.text(max_size=60), ADDRESSES)
def test_whatever_a_list_says_a_problem_is_known_or_every_item_was_read(
    value: str, client: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    if problem(value) is None:
        items = [item for item in value.split(",") if item.strip()]
        assert bool(read_list(value)) == bool(items)
    elif "," not in value:
        assert Rules().denied(who(str(client)), {"allow": value})
