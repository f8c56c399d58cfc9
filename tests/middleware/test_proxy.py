"""proxy: the client's address is what a trusted proxy says, and nothing that a client says."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labapi_middleware.addresses import Networks, networks, parse_address, parse_network
from labapi_middleware.filter import OptionError
from labapi_middleware.forwarded import hops_for, hops_forwarded
from labapi_middleware.proxy import Proxy
from tests.middleware.conftest import Recorder, build, call, environ, plain, validated

TRUSTED = "10.0.0.0/8, 2001:db8:aaaa::/48"
REAL = "192.0.2.7"  # what the trusted proxy saw


def resolved(peer: str, headers: dict[str, str], **options: str) -> Recorder:
    recorder = Recorder()
    app = build(Proxy, recorder, trusted_proxies=TRUSTED, **options)
    assert call(app, environ(REMOTE_ADDR=peer, headers=headers)).status == 200
    return recorder


def client(peer: str, headers: dict[str, str], **options: str) -> str:
    return resolved(peer, headers, **options).environ["REMOTE_ADDR"]


SPOOFED = [
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Forwarded-For": "10.0.0.1"},
    {"X-Forwarded-For": "127.0.0.1, 10.0.0.1"},
    {"X_Forwarded_For": "127.0.0.1"},
    {"x-forwarded-for": "127.0.0.1"},
    {"Forwarded": "for=127.0.0.1"},
    {"Forwarded": 'for="[::1]";proto=https'},
    {"X-Real-Ip": "127.0.0.1"},
    {"X-Cluster-Client-Ip": "127.0.0.1"},
    {"X-Client-Ip": "127.0.0.1"},
    {"True-Client-Ip": "127.0.0.1"},
    {"CF-Connecting-IP": "127.0.0.1"},
    {"Client-Ip": "127.0.0.1"},
    {"X-Forwarded": "for=127.0.0.1"},
    {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1", "X-Real-Ip": "127.0.0.1"},
]


@pytest.mark.parametrize("headers", SPOOFED)
@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_a_client_that_is_no_proxy_cannot_spoof(headers, header):
    recorder = resolved("192.0.2.66", headers, header=header)
    assert recorder.environ["REMOTE_ADDR"] == "192.0.2.66"
    assert recorder.environ["labapi.peer_address"] == "192.0.2.66"
    assert recorder.environ["labapi.forwarded_unbelieved"] is True
    left = {key for key in recorder.environ if key.startswith("HTTP_")}
    assert left == {"HTTP_HOST"}


@pytest.mark.parametrize("sent", [h["X-Forwarded-For"] for h in SPOOFED if "X-Forwarded-For" in h])
def test_what_a_client_sends_through_a_proxy_stands_left_of_the_truth(sent):
    assert client("10.0.0.1", {"X-Forwarded-For": f"{sent},{REAL}"}) == REAL
    assert client("10.0.0.1", {"X-Forwarded-For": f"{sent}, {REAL}, 10.9.9.9"}) == REAL


@pytest.mark.parametrize(
    "sent",
    [
        "for=127.0.0.1",
        'for="127.0.0.1',
        'for="127.0.0.1\\',
        'for="\\"',
        '"',
        '\\"',
        "for=127.0.0.1;",
        ",,,",
        'for="[::1',
        "\x00",
        'a="',
        'for="x\\\\" , for="',
    ],
)
def test_nothing_in_forwarded_swallows_what_the_proxy_appends(sent):
    headers = {"Forwarded": f"{sent}, for={REAL};proto=https"}
    assert client("10.0.0.1", headers, header="Forwarded") == REAL


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (REAL, REAL),
        (f"{REAL}:5555", REAL),
        (f"  {REAL}\t", REAL),
        (f"{REAL}, , ", REAL),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("::ffff:192.0.2.7", REAL),
        (f"{REAL}, 2001:db8:aaaa::1, 10.0.0.2", REAL),
        # the last good address is the proxy's, and garbage is never one
        ("", "10.0.0.1"),
        (",", "10.0.0.1"),
        ("unknown", "10.0.0.1"),
        (f"{REAL}, unknown", "10.0.0.1"),
        (f"{REAL}, garbage, 10.0.0.2", "10.0.0.2"),
        (f"{REAL} 1.1.1.1", "10.0.0.1"),
        ("1.1.1", "10.0.0.1"),
        ("1", "10.0.0.1"),
        ("0x7f.1", "10.0.0.1"),
        ("127.000.000.001", "10.0.0.1"),
        ("192.0.2.7:port", "10.0.0.1"),
        ("192.0.2.7:123456", "10.0.0.1"),
        ("[192.0.2.7", "10.0.0.1"),
        ("[::1", "10.0.0.1"),
        ("fe80::1%eth0", "10.0.0.1"),
        ("192.0.2.7/32", "10.0.0.1"),
        ('"192.0.2.7"', "10.0.0.1"),
        ("for=192.0.2.7", "10.0.0.1"),
        ("\u0661.1.1.1", "10.0.0.1"),
        # all trusted: the first of them
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
    ],
)
def test_x_forwarded_for(value, expected):
    assert client("10.0.0.1", {"X-Forwarded-For": value}) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"for={REAL}", REAL),
        (f"For={REAL};proto=http;by=10.0.0.1", REAL),
        (f'for="{REAL}:5555"', REAL),
        (f'for="{REAL}:_port"', REAL),
        (f"proto=https ; for={REAL} ", REAL),
        ('for="[2001:db8::7]"', "2001:db8::7"),
        ('for="[2001:db8::7]:443";host="a,b;c"', "2001:db8::7"),
        ('for="\\1\\9\\2.0.2.7"', REAL),
        (f'for={REAL}, for="[2001:db8:aaaa::1]", for=10.0.0.2', REAL),
        ("for=unknown", "10.0.0.1"),
        ("for=_hidden", "10.0.0.1"),
        ("for=_SEVKISEK", "10.0.0.1"),
        (f"for={REAL}, for=_hidden, for=10.0.0.2", "10.0.0.2"),
        ("proto=https", "10.0.0.1"),
        (f"for={REAL};for=127.0.0.1", "10.0.0.1"),
        (f"for={REAL};", "10.0.0.1"),
        (f"for = {REAL}", "10.0.0.1"),
        ("for=", "10.0.0.1"),
        ('for="2001:db8::7"', "10.0.0.1"),
        (REAL, "10.0.0.1"),
        (f'for="{REAL}', "10.0.0.1"),
        (f'for={REAL}"', "10.0.0.1"),
    ],
)
def test_forwarded(value, expected):
    assert client("10.0.0.1", {"Forwarded": value}, header="Forwarded") == expected


def test_only_the_configured_header_counts():
    headers = {
        "X-Forwarded-For": "192.0.2.1",
        "Forwarded": "for=192.0.2.2",
        "X-Real-Ip": "192.0.2.3",
    }
    assert client("10.0.0.1", headers) == "192.0.2.1"
    assert client("10.0.0.1", headers, header="Forwarded") == "192.0.2.2"
    del headers["X-Forwarded-For"]
    assert client("10.0.0.1", headers) == "10.0.0.1"


def test_a_header_with_underscores_is_not_the_proxys():
    raw = (("X-Forwarded-For", REAL), ("X_Forwarded_For", "127.0.0.1"))
    recorder = Recorder()
    request = environ(
        REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=f"{REAL},127.0.0.1", headers_raw=raw
    )
    call(build(Proxy, recorder, trusted_proxies=TRUSTED), request)
    assert recorder.environ["REMOTE_ADDR"] == REAL


def test_several_header_lines_count_in_their_order():
    raw = (("X-Forwarded-For", "127.0.0.1"), ("x-forwarded-for", REAL))
    recorder = Recorder()
    request = environ(REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="-", headers_raw=raw)
    call(build(Proxy, recorder, trusted_proxies=TRUSTED), request)
    assert recorder.environ["REMOTE_ADDR"] == REAL


def test_a_header_that_makes_no_sense_is_marked():
    environ_of = resolved("10.0.0.1", {"X-Forwarded-For": "garbage"}).environ
    assert environ_of["labapi.forwarded_unbelieved"] is True
    assert "labapi.forwarded_unbelieved" not in resolved("10.0.0.1", {}).environ
    good = resolved("10.0.0.1", {"X-Forwarded-For": REAL}).environ
    assert "labapi.forwarded_unbelieved" not in good


def test_the_peers_port_is_not_the_clients():
    recorder = Recorder()
    app = build(Proxy, recorder, trusted_proxies=TRUSTED)
    call(app, environ(REMOTE_ADDR="10.0.0.1", REMOTE_PORT="99", HTTP_X_FORWARDED_FOR=REAL))
    assert "REMOTE_PORT" not in recorder.environ
    assert recorder.environ["labapi.peer_address"] == "10.0.0.1"


def test_an_ipv4_client_of_an_ipv6_listener_is_an_ipv4_client():
    assert client("::ffff:192.0.2.7", {}) == REAL
    assert client("::ffff:10.0.0.1", {"X-Forwarded-For": "192.0.2.8"}) == "192.0.2.8"


def test_a_socket_without_an_address_trusts_nobody():
    assert client("", {"X-Forwarded-For": "127.0.0.1"}) == ""


def test_a_very_long_header_ends_somewhere():
    many = ",".join(["10.0.0.2"] * 10_000)
    recorder = resolved("10.0.0.1", {"X-Forwarded-For": many})
    assert recorder.environ["REMOTE_ADDR"] == "10.0.0.2"
    assert recorder.environ["labapi.forwarded_unbelieved"] is True


@pytest.mark.parametrize(
    ("peer", "headers", "options", "scheme", "host"),
    [
        ("10.0.0.1", {"X-Forwarded-Proto": "https"}, {}, "https", "127.0.0.1"),
        ("10.0.0.1", {"X-Forwarded-Proto": "http, HTTPS"}, {}, "https", "127.0.0.1"),
        ("10.0.0.1", {"X-Forwarded-Proto": "javascript"}, {}, "http", "127.0.0.1"),
        ("192.0.2.1", {"X-Forwarded-Proto": "https"}, {}, "http", "127.0.0.1"),
        ("10.0.0.1", {"X-Forwarded-Proto": "https"}, {"use_scheme": "no"}, "http", "127.0.0.1"),
        ("10.0.0.1", {"X-Forwarded-Host": "lab.example:8774"}, {}, "http", "127.0.0.1"),
        (
            "10.0.0.1",
            {"X-Forwarded-Host": "evil, lab.example:8774"},
            {"use_host": "yes"},
            "http",
            "lab.example:8774",
        ),
        ("10.0.0.1", {"X-Forwarded-Host": "a\r\nb"}, {"use_host": "yes"}, "http", "127.0.0.1"),
        ("192.0.2.1", {"X-Forwarded-Host": "evil"}, {"use_host": "yes"}, "http", "127.0.0.1"),
        (
            "10.0.0.1",
            {"Forwarded": f'for=1.1.1.1;host=evil, for={REAL};proto=https;host="[::1]:1"'},
            {"header": "Forwarded", "use_host": "yes"},
            "https",
            "[::1]:1",
        ),
        ("10.0.0.1", {"X-Forwarded-Proto": "https"}, {"header": "Forwarded"}, "http", "127.0.0.1"),
    ],
)
def test_scheme_and_host_come_from_trusted_proxies_only(peer, headers, options, scheme, host):
    got = resolved(peer, headers, **options).environ
    assert got["wsgi.url_scheme"] == scheme
    assert got["HTTP_HOST"] == host
    assert not [key for key in got if key.startswith("HTTP_X_FORWARDED")]


def test_a_network_that_is_none_stops_the_start():
    with pytest.raises(OptionError, match="trusted_proxies"):
        build(Proxy, plain(), trusted_proxies="10.0.0.1/8")
    with pytest.raises(OptionError, match="expected one of X-Forwarded-For, Forwarded"):
        build(Proxy, plain(), header="X-Real-Ip")


def test_it_conforms_to_wsgi():
    app = validated(build(Proxy, validated(plain()), trusted_proxies="127.0.0.1"))
    assert call(app, environ(headers={"X-Forwarded-For": "::1"})).body == b"ok"


# Properties

ADDRESSES = st.ip_addresses()
TRUSTED_ADDRESSES = st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(
    network="2001:db8:aaaa::/48"
)
ANYTHING = st.text(st.characters(max_codepoint=255), max_size=60)


def outside(address) -> bool:
    return parse_address(str(address)) not in networks(TRUSTED)


@given(ANYTHING, ADDRESSES.filter(outside), st.lists(TRUSTED_ADDRESSES, max_size=5))
def test_the_client_is_the_first_address_from_the_right_that_is_not_trusted(left, real, chain):
    value = ",".join([left, str(real), *map(str, chain)])
    assert client("10.0.0.1", {"X-Forwarded-For": value}) == str(parse_address(str(real)))


@given(ANYTHING, ADDRESSES.filter(outside), st.lists(TRUSTED_ADDRESSES, max_size=5))
def test_the_same_for_forwarded(left, real, chain):
    nodes = [f'for="[{a}]"' if a.version == 6 else f"for={a}" for a in (real, *chain)]
    value = ", ".join([left, *nodes])
    assert client("10.0.0.1", {"Forwarded": value}, header="Forwarded") == str(
        parse_address(str(real))
    )


@given(ANYTHING)
def test_whatever_the_header_says_the_address_is_one(value):
    for header in ("X-Forwarded-For", "Forwarded"):
        parse_address(client("10.0.0.1", {header: value}, header=header))


@given(ANYTHING)
def test_whatever_an_untrusted_peer_says_it_stays_itself(value):
    headers = {"X-Forwarded-For": value, "Forwarded": value}
    assert client("192.0.2.9", headers) == "192.0.2.9"


@given(ANYTHING)
def test_reading_ends_with_a_value_error_or_addresses(value):
    for read in (hops_for, hops_forwarded):
        try:
            found = list(read(value))
        except ValueError:
            continue
        assert all(isinstance(h.address, ipaddress._BaseAddress) for h in found)


@given(ADDRESSES)
def test_an_address_survives_being_written_and_read(address):
    parsed = parse_address(str(address))
    assert parse_address(f" {parsed} ") == parsed
    assert parsed in Networks([parse_network(str(parsed))])


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_the_ipv4_one(address):
    assert parse_address(f"::ffff:{address}") == address
    assert address in networks(f"::ffff:{address}/128")
    assert parse_address(f"::ffff:{address}") in networks(str(address))


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_mapped_network_covers_what_the_ipv4_one_covers(address, length):
    network = ipaddress.ip_network((address, length), strict=False)
    mapped = f"::ffff:{network.network_address}/{96 + length}"
    assert parse_network(mapped) == network
    assert address in networks(mapped)


@given(ANYTHING)
def test_a_network_is_one_or_a_value_error(value):
    try:
        parse_network(value)
    except ValueError:
        return
    assert "/" in value or parse_address(value)
