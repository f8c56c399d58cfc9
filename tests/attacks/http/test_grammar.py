"""Requests that are not RFC 9112, byte by byte, against every server that docs/deploy.md names."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator

import pytest

from tests.attacks.http import servers

# A request of its own, where a server takes the end of an attack for one.
HIDDEN = b"GET /v2.1/limits HTTP/1.1\r\nHost: localhost\r\n\r\n"
GET = b"GET /v2.1/limits HTTP/1.1\r\n"
POST = b"POST /v2.1/testcases HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HOST = b"Host: localhost\r\n"

BAD = {
    "a line without a colon": GET + HOST + b"X-Forwarded-For 1.2.3.4\r\n\r\n",
    "a bare CR": GET + HOST + b"X: y\rX-Forwarded-For: 1.2.3.4\r\n\r\n",
    "a bare LF": GET + HOST + b"X: y\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
    "a NUL": GET + HOST + b"X: y\0z\r\n\r\n",
    "a blank before the colon": GET + HOST + b"X-Forwarded-For : 1.2.3.4\r\n\r\n",
    "a header without a name": GET + HOST + b": y\r\n\r\n",
    "a folded header": GET + HOST + b"X: y\r\n z\r\n\r\n",
    "a folded first header": GET + b" X: y\r\n" + HOST + b"\r\n",
    "no Host": GET + b"\r\n",
    "Host twice": GET + HOST + b"Host: other\r\n\r\n",
    "Host is no host": GET + b"Host: a b\r\n\r\n",
    "Content-Length twice": POST + b"Content-Length: 2\r\nContent-Length: 50\r\n\r\n{}" + HIDDEN,
    "Content-Length in a list": POST + b"Content-Length: 2, 50\r\n\r\n{}" + HIDDEN,
    "Content-Length with a sign": POST + b"Content-Length: +2\r\n\r\n{}" + HIDDEN,
    "Content-Length is empty": POST + b"Content-Length: \r\n\r\n{}",
    "Content-Length and Transfer-Encoding": (
        POST + b"Content-Length: 48\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN
    ),
    "Transfer-Encoding twice": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"
    ),
    "Transfer-Encoding is unknown": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding in HTTP/1.0": (
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN
    ),
    "a chunk's size with 0x": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n" + HIDDEN
    ),
    "a chunk that is too long": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx\r\n0\r\n\r\n" + HIDDEN
    ),
    "a request line of two words": b"GET /v2.1/limits\r\n" + HOST + b"\r\n",
    "a request line of four words": b"GET /v2.1/limits HTTP/1.1 x\r\n" + HOST + b"\r\n",
    "a tab in the request line": b"GET\t/v2.1/limits HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/1.1x": b"GET /v2.1/limits HTTP/1.1x\r\n" + HOST + b"\r\n",
    "control characters in the target": b"GET /v2.1/\x01limits HTTP/1.1\r\n" + HOST + b"\r\n",
    "bytes beyond ASCII in the target": b"GET /v2.1/\xfc HTTP/1.1\r\n" + HOST + b"\r\n",
}

GOOD = {
    "as curl sends it": GET + HOST + b"User-Agent: curl/8\r\nAccept: */*\r\n\r\n",
    "an empty line first": b"\r\n" + GET + HOST + b"\r\n",
    "values with blanks, tabs and Latin-1": GET + HOST + b"X:\t a \t \xfc b \r\nY:\r\n\r\n",
    "names in any case": GET.replace(b"limits", b"limits?") + b"hOST: localhost:8774\r\n\r\n",
    "IPv6": GET + b"Host: [::1]:8774\r\n\r\n",
}
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n1;x=y\r\n{\r\n1\r\n}\r\n0\r\nX: y\r\n\r\n"

# What we can neither see nor change, as docs/deploy.md says: the status of the answer.
LET_THROUGH = {
    # RFC 9112 allows to take LF for CR LF. The second line is seen as a header, and denied.
    ("granian", "a bare LF"): 403,
    # It makes one up.
    ("granian", "no Host"): 200,
    # It leaves the CR out: no header begins there.
    ("uWSGI", "a bare CR"): 200,
}
MIXED_UP = ("granian", "uWSGI")  # header names with underscores are those with hyphens to them
NOT_IMPLEMENTED = ("Transfer-Encoding twice", "Transfer-Encoding is unknown")


@pytest.fixture(scope="module", params=servers.NAMES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, int]]:
    """Return the name of a server, and its port."""
    process, port = servers.start(request.param, tmp_path_factory.mktemp("server"))
    first_answer(port, GET + HOST + b"\r\n")
    yield request.param, port
    process.kill()


def first_answer(port: int, request: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.sendall(request)
        return _statuses(client.recv(65536))[0]


def all_answers(port: int, request: bytes) -> list[int]:
    """Return the statuses of all answers up to the end of the connection."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.sendall(request)
        with contextlib.suppress(ConnectionResetError):  # it did not read all of this
            while data := client.recv(65536):
                received += data
    return _statuses(received)


def _statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answers)]


@pytest.mark.parametrize("attack", BAD)
def test_what_is_not_of_the_grammar(server: tuple[str, int], attack: str) -> None:
    name, port = server
    if (name, attack) in LET_THROUGH:
        assert first_answer(port, BAD[attack]) == LET_THROUGH[name, attack]
        return
    answers = all_answers(port, BAD[attack])
    if name in servers.OURS:
        assert answers == [501 if attack in NOT_IMPLEMENTED else 400]
    else:  # uWSGI often says nothing, others have a number of their own for some
        assert answers in ([], [400], [405], [501], [505])


@pytest.mark.parametrize("kind", GOOD)
def test_what_is_of_the_grammar(server: tuple[str, int], kind: str) -> None:
    if (server[0], kind) != ("uWSGI", "an empty line first"):  # RFC 9112 asks for it in vain
        assert first_answer(server[1], GOOD[kind]) == 200


def test_a_chunked_body(server: tuple[str, int]) -> None:
    # Read to its end: what the application says is that the body lacks fields.
    assert first_answer(server[1], POST + CHUNKED) == 400
    name, port = server
    ends = HIDDEN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    if name != "uWSGI":  # its router does not go on behind a chunked body
        answers = all_answers(port, POST + CHUNKED + ends)
        assert answers == ([400] if name == "labapi-all" else [400, 200])


def test_a_header_with_underscores_is_not_the_one_with_hyphens(server: tuple[str, int]) -> None:
    # X-Forwarded-For of a client that is no proxy is denied; this one is not there.
    request = GET + HOST + b"X_Forwarded_For: 1.2.3.4\r\n\r\n"
    assert first_answer(server[1], request) == (403 if server[0] in MIXED_UP else 200)
