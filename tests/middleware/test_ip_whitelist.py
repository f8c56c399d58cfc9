"""The ``ip_whitelist`` filter as a Paste pipeline builds it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from labapi_middleware.environ import HOST_GUARD
from labapi_middleware.filter import OptionError
from labapi_middleware.ip_whitelist import filter_factory

HOSTS = {
    "open": {"colour": "red"},
    "guarded": {"allow-dev": "198.51.100.12", "colour": "blue"},
    "mistyped": {"allow-dev": "198.51.100.12x"},
}


def hosts(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with one host, or with the names of those that this client may reach."""
    guard = environ[HOST_GUARD]
    name = environ["PATH_INFO"].strip("/")
    if not name:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [",".join(host for host in HOSTS if guard(HOSTS[host]) is None).encode()]
    if environ["REQUEST_METHOD"] == "PUT":
        problem = guard.problem("allow-dev", environ["QUERY_STRING"])
        start_response("400 Bad Request" if problem else "204 No Content", [])
        return [(problem or "").encode()]
    message = guard(HOSTS[name])
    start_response("403 Forbidden" if message else "200 OK", [])
    return [(message or name).encode()]


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def get(
    app: Any,
    client: str | None,
    path: str = "/",
    method: str = "GET",
    query: str = "",
    **extra: str,
) -> tuple[int, dict[str, str], bytes]:
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    setup_testing_defaults(environ)
    environ["labapi.request_id"] = "req-1"
    if client is not None:
        environ["REMOTE_ADDR"] = client
    environ.update(extra)
    got: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        got.update(status=int(status.split()[0]), headers=dict(headers))

    body = b"".join(app(environ, start_response))
    return got["status"], got["headers"], body


@pytest.mark.parametrize(
    ("client", "status"),
    [
        ("10.1.2.3", 200),
        ("::ffff:10.1.2.3", 200),
        ("2001:db8::5", 200),
        ("127.0.0.1", 200),
        ("192.0.2.7", 200),
        ("11.1.2.3", 403),
        ("", 403),
        ("unknown", 403),
        (None, 403),
    ],
)
def test_the_option_allow_is_for_every_request(
    client: str | None, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    app = filter_factory({}, allow="10.0.0.0/8, 2001:db8::/32", operators="192.0.2.0/24")(hello)
    got, headers, body = get(app, client)
    assert got == status
    if status == 403:
        assert json.loads(body)["forbidden"]["message"] == "IP Denied"
        assert int(headers["Content-Length"]) == len(body)
        (line,) = [r.getMessage() for r in caplog.records if "denied" in r.getMessage()]
        assert line.startswith(f"req-1 {client or '-'} GET / denied: ")


@pytest.mark.parametrize("header", ["X_FORWARDED_FOR", "FORWARDED", "X_REAL_IP", "CLIENT_IP"])
def test_no_header_names_another_client(header: str) -> None:
    app = filter_factory({}, allow="10.0.0.0/8")(hello)
    assert get(app, "11.1.2.3", **{f"HTTP_{header}": "10.1.2.3"})[0] == 403
    assert get(app, "10.1.2.3", **{f"HTTP_{header}": "11.1.2.3"})[0] == 200


def test_an_empty_allow_restricts_nobody() -> None:
    assert get(filter_factory({}, allow="")(hello), "11.1.2.3")[0] == 200
    assert get(filter_factory(None)(hello), "")[0] == 200


def test_the_name_of_the_section_is_no_option() -> None:
    app = filter_factory({}, **{"__name__": "whitelist", "allow": "10.0.0.1"})(hello)
    assert get(app, "10.0.0.1")[0] == 200


def test_own_addresses_can_be_switched_off() -> None:
    app = filter_factory({}, allow="10.0.0.1", allow_own_addresses="no")(hello)
    assert get(app, "127.0.0.1")[0] == 403
    assert get(app, "10.0.0.1")[0] == 200


def test_the_message_is_the_operators() -> None:
    app = filter_factory({}, allow="10.0.0.1", deny_message="<b>You</b> shall not pass")(hello)
    assert json.loads(get(app, "10.0.0.2")[2])["forbidden"]["message"] == (
        "<b>You</b> shall not pass"
    )
    html = get(app, "10.0.0.2", HTTP_ACCEPT="text/html")[2]
    assert b"&lt;b&gt;You" in html


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("allow", "10.0.0.1/8", "host bits"),
        ("operators", "office", "'office' is not an address or network"),
        ("prefix", " ", "at least one character"),
        ("closed_by_default", "maybe", "true or false"),
        ("source", "nova", "expected one of application"),
        ("retry_after", "0", "from 1 to 3600"),
        ("deny_mesage", "x", "did you mean 'deny_message'"),
    ],
)
def test_a_wrong_option_stops_the_start(option: str, value: str, told: str) -> None:
    with pytest.raises(OptionError, match=f"filter ip_whitelist: option '{option}'") as caught:
        filter_factory({}, **{option: value})
    assert told in str(caught.value)


APPLICATION = [
    # client, path, status, body
    ("198.51.100.12", "/open", 200, b"open"),
    ("198.51.100.12", "/guarded", 200, b"guarded"),
    ("198.51.100.12", "/mistyped", 403, b"IP Denied"),
    ("198.51.100.12", "/", 200, b"open,guarded"),
    ("198.51.100.13", "/open", 200, b"open"),
    ("198.51.100.13", "/guarded", 403, b"IP Denied"),
    ("198.51.100.13", "/", 200, b"open"),
    ("127.0.0.1", "/", 200, b"open,guarded,mistyped"),
    ("", "/", 200, b"open"),
]


@pytest.mark.parametrize(("client", "path", "status", "body"), APPLICATION)
def test_an_application_asks_the_guard(client: str, path: str, status: int, body: bytes) -> None:
    app = filter_factory({}, source="application")(hosts)
    assert get(app, client, path)[::2] == (status, body)


def test_the_guard_says_what_is_wrong_with_a_list() -> None:
    app = filter_factory({}, source="application")(hosts)
    assert get(app, "10.0.0.1", "/open", "PUT", "10.0.0.0/8")[0] == 204
    status, _, body = get(app, "10.0.0.1", "/open", "PUT", "10.0.0.0/33")
    assert status == 400
    assert b"10.0.0.0/33" in body


def test_a_listing_logs_one_denial(caplog: pytest.LogCaptureFixture) -> None:
    app = filter_factory({}, source="application", closed_by_default="yes")(hosts)
    assert get(app, "198.51.100.13")[2] == b""
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == [
        "req-1 198.51.100.13 GET / denied: "
        "no metadata that start with 'allow', which is closed by default"
    ]


def test_both_rules_must_be_passed() -> None:
    app = filter_factory({}, allow="198.51.100.0/24", source="application")(hosts)
    assert get(app, "203.0.113.1", "/open")[0] == 403
    assert get(app, "198.51.100.13", "/open")[0] == 200
    assert get(app, "198.51.100.13", "/guarded")[0] == 403


def test_the_guards_of_two_filters_must_be_passed() -> None:
    one = filter_factory({}, source="application", prefix="office")(hosts)
    app = filter_factory({}, source="application")(one)
    assert get(app, "198.51.100.13", "/open")[0] == 200
    assert get(app, "198.51.100.13", "/guarded")[0] == 403
    assert get(app, "198.51.100.13", "/open", "PUT", "10.0.0.0/33")[0] == 400


ROOMS = """
from labapi_middleware.ip_whitelist import by_lookup

def rooms(environ):
    path = environ["PATH_INFO"]
    if path == "/broken":
        raise ConnectionError("the database at 10.9.9.9 is away")
    return {"/room": {"allow": "198.51.100.12"}}.get(path)

source = by_lookup(rooms)
"""
ENTRY_POINTS = """
[labapi_middleware.allow_sources]
rooms = rooms_for_test:source
gone = no_such_module:source
application = rooms_for_test:source
"""


@pytest.fixture
def with_rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install a distribution that brings sources, and build the filter with one of them."""
    information = tmp_path / "rooms-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: rooms\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "rooms_for_test.py").write_text(ROOMS)
    monkeypatch.syspath_prepend(tmp_path)
    return filter_factory({}, source="rooms", retry_after="7")(hello)


def test_a_source_of_another_distribution(with_rooms: Any) -> None:
    assert get(with_rooms, "198.51.100.12", "/room")[0] == 200
    assert get(with_rooms, "198.51.100.13", "/room")[0] == 403
    assert get(with_rooms, "198.51.100.13", "/elsewhere")[0] == 200


def test_it_fails_closed_when_the_source_fails(
    with_rooms: Any, caplog: pytest.LogCaptureFixture
) -> None:
    status, headers, body = get(with_rooms, "198.51.100.12", "/broken")
    assert status == 503
    assert headers["Retry-After"] == "7"
    assert b"10.9.9.9" not in body
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.getMessage() == ("req-1 198.51.100.12 GET /broken unavailable: the source failed")
    assert record.exc_info is not None


@pytest.mark.usefixtures("with_rooms")
@pytest.mark.parametrize(
    ("name", "told"),
    [("application", "found 2"), ("gone", "cannot be loaded"), ("none", "found 0")],
)
def test_a_source_that_is_ambiguous_or_gone_stops_the_start(name: str, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        filter_factory({}, source=name)


ACCESS = [
    # client, headers, options, what is known of it later
    ("198.51.100.12", {}, {}, ("198.51.100.12", False, "allow", False)),
    ("::ffff:198.51.100.12", {}, {}, ("198.51.100.12", False, "allow", False)),
    (
        "198.51.100.12",
        {},
        {"operators": "198.51.100.0/24"},
        ("198.51.100.12", True, "allow", False),
    ),
    ("127.0.0.1", {}, {"prefix": "Lets-In"}, ("127.0.0.1", True, "lets-in", False)),
    ("127.0.0.1", {"HTTP_VIA": "1.1 proxy"}, {}, ("127.0.0.1", False, "allow", False)),
    ("", {}, {"closed_by_default": "true"}, (None, False, "allow", True)),
]


@pytest.mark.parametrize(("client", "headers", "options", "known"), ACCESS)
def test_the_guard_tells_what_a_client_may_reach_later(
    client: str, headers: dict[str, str], options: dict[str, str], known: tuple[Any, ...]
) -> None:
    told: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        told.append(environ[HOST_GUARD].access())
        return hello(environ, start_response)

    guarded = filter_factory({}, source="application", **options)(app)
    assert get(guarded, client, **headers)[0] == 200
    names = ("address", "everywhere", "prefix", "closed_by_default")
    assert told == [dict(zip(names, known, strict=True))]
