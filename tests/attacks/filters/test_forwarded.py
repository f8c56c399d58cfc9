"""Any bytes in the headers of proxies: a client cannot take another address."""

from __future__ import annotations

import contextlib
import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from labapi_middleware.forwarded import FORWARDED, MOST_HOPS, hops_for, hops_forwarded
from labapi_middleware.proxy import Proxy
from tests.middleware.conftest import Recorder, build, call, environ

PROXY, REAL = "10.0.0.1", "192.0.2.7"
TRUSTED = f"{PROXY}, 2001:db8:aaaa::/48"
READERS = {"X-Forwarded-For": hops_for, "Forwarded": hops_forwarded}

# Pieces of the two grammars, whole and broken, and what stands between them.
PIECES = (
    *(b",", b";", b"=", b'"', b"\\", b'\\"', b"\\\\", b"[", b"]", b":", b" ", b"\t", b"%eth0"),
    *(b"for=", b"FOR=", b'for="', b"by=", b"proto=https", b"host=evil", b"unknown", b"_hidden"),
    *(b"127.0.0.1", b"10.0.0.1", b"192.0.2.66", b"::1", b"[::1]", b"2001:db8:aaaa::1", b":443"),
    *(b"::ffff:127.0.0.1", b"127.0.0.1:99999", b"0x7f.1", b"\0", b"\r\n", b"\x85", b"\xff"),
)
WRITTEN = st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=60).map(b"".join)
MANY = settings(max_examples=400)


def seen(peer: str, header: str, value: bytes, names: frozenset[str] = frozenset()) -> Recorder:
    """Send a request through the filter, as WSGI hands on bytes."""
    recorder = Recorder()
    text = value.decode("latin-1")
    headers = {**dict.fromkeys(names, text), f"HTTP_{header.upper().replace('-', '_')}": text}
    app = build(Proxy, recorder, trusted_proxies=TRUSTED, header=header)
    assert call(app, environ(REMOTE_ADDR=peer, **headers)).status == 200
    assert not recorder.environ.keys() & FORWARDED
    return recorder


@MANY
@given(WRITTEN, st.sampled_from(sorted(READERS)))
def test_an_untrusted_peer_keeps_its_address(written: bytes, header: str) -> None:
    found = seen("192.0.2.66", header, written, FORWARDED).environ
    assert found["REMOTE_ADDR"] == "192.0.2.66"
    assert found["labapi.forwarded_unbelieved"] is True
    assert (found["wsgi.url_scheme"], found["HTTP_HOST"]) == ("http", "127.0.0.1")


@MANY
@given(WRITTEN, st.sampled_from(sorted(READERS)), st.integers(0, 3))
def test_what_a_proxy_appends_counts(written: bytes, header: str, proxies: int) -> None:
    chain = [REAL, *[PROXY] * proxies]
    appended = [f"for={each}" if header == "Forwarded" else each for each in chain]
    value = b",".join([written, *(each.encode() for each in appended)])
    assert seen(PROXY, header, value).environ["REMOTE_ADDR"] == REAL


@MANY
@given(WRITTEN, st.sampled_from(sorted(READERS)))
def test_reading_ends_after_so_many_addresses(written: bytes, header: str) -> None:
    count = 0
    with contextlib.suppress(ValueError):  # what is no address ends the reading, too
        for hop in READERS[header]((written + b",").decode("latin-1") * 40):
            assert isinstance(hop.address, ipaddress.IPv4Address | ipaddress.IPv6Address)
            count += 1
    assert count <= MOST_HOPS + 1


@MANY
@given(WRITTEN, st.sampled_from(sorted(READERS)))
def test_the_client_is_an_address_whatever_is_written(written: bytes, header: str) -> None:
    ipaddress.ip_address(seen(PROXY, header, written).environ["REMOTE_ADDR"])
