"""Filters under real servers: what a client sees when an answer breaks, or when it goes away."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.middleware import servers
from tests.processes import Process

ROOT = Path(__file__).parents[2]

APPLICATION = """
    import logging, sys
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(name)s %(message)s")
    from labapi_middleware import access_log, faultwrap, request_id, sizelimit

    def app(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/raise":
            raise RuntimeError("s3cret")
        if path == "/read":
            body = environ["wsgi.input"].read()
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
            return [b"ok"]
        return failing(path, start_response)

    def failing(path, start_response):
        if path == "/first":
            raise RuntimeError("s3cret")
        headers = [("Content-Length", "100")] if path == "/length" else []
        start_response("200 OK", [("Content-Type", "text/plain"), *headers])
        yield b"half"
        raise RuntimeError("s3cret")

    app = sizelimit.filter_factory({}, max_request_body_size="100")(app)
    for module in (faultwrap, access_log, request_id):
        app = module.filter_factory({})(app)
"""

SERVERS = {
    "wsgiref": """
        from wsgiref.simple_server import make_server
        make_server("127.0.0.1", PORT, app).serve_forever()
    """,
    "eventlet": """
        import eventlet, eventlet.wsgi
        log = open("/dev/null", "w")  # its own tracebacks are not the filters'
        eventlet.wsgi.server(eventlet.listen(("127.0.0.1", PORT)), app, log)
    """,
}


@pytest.fixture(params=SERVERS)
def server(request, tmp_path) -> Iterator[tuple[str, int, Path]]:
    if request.param == "eventlet":
        pytest.importorskip("eventlet")
    port = servers.free_port()
    code = textwrap.dedent(APPLICATION) + textwrap.dedent(SERVERS[request.param])
    log = tmp_path / "log"
    process = Process([sys.executable, "-c", code.replace("PORT", str(port))], log)
    try:
        process.listens(port)
        yield request.param, port, log
    finally:
        process.kill()


def get(port: int, path: str) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        client.request("GET", path)
        with client.getresponse() as answer:
            return answer.status, answer.read()


def wait_for(log: Path, text: str) -> str:
    end = time.monotonic() + 60
    while text not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)
    return log.read_text()


@pytest.mark.parametrize("path", ["/raise", "/first"])
def test_an_exception_is_a_fault(server, path):
    _, port, log = server
    status, body = get(port, path)
    assert status == 500
    fault = json.loads(body)["computeFault"]
    assert "s3cret" not in str(fault)
    text = wait_for(log, "labapi_middleware.access_log")
    assert f"{fault['request_id']} 127.0.0.1 GET {path}: failed" in text
    assert "RuntimeError: s3cret" in text


def test_an_answer_that_fails_halfway_is_seen_to_be_broken(server):
    name, port, log = server
    # HTTP/1.0, wsgiref's, has no way to show it without a length.
    for path in ["/length"] if name == "wsgiref" else ["/length", "/chunked"]:
        with pytest.raises(http.client.IncompleteRead):
            get(port, path)
    text = wait_for(log, "labapi_middleware.access_log")
    assert "failed while it was being answered" in text
    assert '" 200 4! ' in text


def test_a_body_that_is_cut_off_does_no_harm(server):
    _, port, log = server
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nhalf")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
    text = wait_for(log, "labapi_middleware.access_log")
    assert "Traceback" not in text.partition("labapi_middleware.access_log")[0]
    assert get(port, "/raise")[0] == 500


def test_a_chunked_body_is_limited(server):
    name, port, _ = server
    if name == "wsgiref":
        pytest.skip("wsgiref does not read chunked bodies")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        client.request("POST", "/read", body=iter([b"x" * 60] * 2), encode_chunked=True)
        answer = client.getresponse()
        assert answer.status == 413
        assert "overLimit" in json.loads(answer.read())
