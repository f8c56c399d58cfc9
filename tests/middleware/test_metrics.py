"""metrics: numbers by route, fetched from an address of their own, over all workers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from labapi_middleware.filter import OptionError
from labapi_middleware.metrics import Metrics, filter_factory
from tests.middleware import servers
from tests.middleware.conftest import build, call, environ, plain, validated


@pytest.fixture
def expose():
    return f"127.0.0.1:{servers.free_port()}"


@pytest.fixture
def metered(expose):
    built = []

    def make(app=None, **options):
        built.append(build(Metrics, app or plain(), expose=expose, **options))
        return built[-1]

    yield make
    for app in built:
        app.close()


def fetch(expose: str, path: str = "/metrics", seconds: float = 60) -> str:
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"http://{expose}{path}", timeout=60) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return str(error.code)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def routed(route):
    def app(request, start_response):
        request["labapi.route"] = route
        return plain()(request, start_response)

    return app


def test_requests_are_counted_by_route(metered, expose):
    app = metered(routed("/v2.1/slaves/{id}"))
    for n in range(3):
        call(app, environ(path=f"/v2.1/slaves/{n}"))
    text = fetch(expose)
    assert (
        'labapi_http_requests_total{method="GET",route="/v2.1/slaves/{id}",status="200"} 3.0'
        in text
    )
    assert (
        'labapi_http_request_duration_seconds_count{method="GET",route="/v2.1/slaves/{id}"} 3.0'
        in text
    )
    assert "labapi_http_requests_in_flight 0.0" in text


def test_a_client_cannot_make_new_series(metered, expose):
    app = metered(plain(status="404 Not Found"))
    for n in range(20):
        call(app, environ(f"M{n}", f"/{n}", headers={"Labapi.Route": f"/{n}"}))
    text = fetch(expose)
    assert 'labapi_http_requests_total{method="other",route="unmatched",status="404"} 20.0' in text
    assert text.count("labapi_http_requests_total{") == 1


def test_what_dies_is_counted(metered, expose):
    def dies(request, start_response):
        raise RuntimeError("no")

    app = metered(dies)
    with pytest.raises(RuntimeError):
        call(app, environ())
    text = fetch(expose)
    assert 'status="500"} 1.0' in text
    assert "labapi_http_requests_in_flight 0.0" in text


def test_a_request_is_in_flight_until_its_body_is_over(metered, expose):
    app = metered()
    result = app(environ(), lambda *a: None)
    assert "labapi_http_requests_in_flight 1.0" in fetch(expose)
    result.close()
    assert "labapi_http_requests_in_flight 0.0" in fetch(expose)


def test_only_the_metrics_are_there(metered, expose):
    call(metered(), environ())
    assert fetch(expose, "/v2.1/slaves") == "404"
    assert "labapi_http" in fetch(expose, "/")


def test_a_client_of_the_address_cannot_hold_it_up(metered, expose):
    call(metered(), environ())
    fetch(expose)
    host, port = expose.split(":")
    with socket.create_connection((host, int(port))):  # says nothing
        assert "labapi_http" in fetch(expose)


def test_a_pipeline_that_is_loaded_again_goes_on_counting(metered, expose):
    call(metered(), environ())
    call(metered(), environ())
    assert 'status="200"} 2.0' in fetch(expose)


def test_nothing_is_left_behind(expose):
    before = set(threading.enumerate())
    app = build(Metrics, plain(), expose=expose)
    call(app, environ())
    fetch(expose)
    app.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()
    with pytest.raises(OSError, match="refused"):
        fetch(expose, seconds=0)


def test_an_address_of_somebody_else_is_no_error_of_the_api(metered, expose):
    host, port = expose.split(":")
    with socket.create_server((host, int(port))):
        assert call(metered(), environ()).status == 200


@pytest.mark.parametrize(
    "options",
    [
        {"expose": "127.0.0.1"},
        {"expose": "127.0.0.1:99999"},
        {"expose": "lab.example:9109"},
        {"expose": "::1"},
        {"buckets": "1, 0.5"},
        {"buckets": ""},
        {"buckets": "1, x"},
        {"multiprocess_dir": "/nowhere"},
    ],
)
def test_options_that_cannot_be_used_stop_the_start(options):
    with pytest.raises(OptionError):
        build(Metrics, plain(), **options)


def test_it_advises_several_workers_to_share_a_folder():
    (advice,) = filter_factory.advice({"workers": "2"})
    assert (advice.option, advice.problem.split(",")[0]) == (
        "multiprocess_dir",
        "labapi-api has 2 workers",
    )
    assert list(filter_factory.advice({"workers": "1"})) == []


def test_the_option_of_the_server_is_not_its_address(expose):
    build(Metrics, plain(), {"listen": "0.0.0.0:8774"}, expose=expose).close()


def test_it_conforms_to_wsgi(metered):
    assert call(validated(metered(validated(plain()))), environ()).body == b"ok"


# Several workers

WORKERS = """
    import os, sys, time
    {patch}
    from labapi_middleware.metrics import filter_factory
    sys.path.insert(0, {root!r})
    from tests.middleware.conftest import call, environ, plain

    def app(request, start_response):
        request["labapi.route"] = "/x"
        return plain()(request, start_response)

    # Loaded before the fork, as servers do.
    filtered = filter_factory({{}}, expose={expose!r}, multiprocess_dir={directory!r})(app)
    workers = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            {after_fork}
            for _ in range(10):
                call(filtered, environ())
            filtered(environ(), lambda *a: None)  # stays in flight
            os.write(1, b"%d\\n" % os.getpid())  # at once, beside the others
            time.sleep(600)
            os._exit(0)
        workers.append(pid)
    for _ in workers:
        os.wait()
"""

# What a server does for its workers: with eventlet, each needs an event loop of its own.
KINDS = {
    "plain": ("", "pass"),
    "eventlet": ("import eventlet; eventlet.monkey_patch()", "eventlet.hubs.use_hub()"),
}


def await_text(expose: str, wanted: str, seconds: float = 60) -> str:
    end = time.monotonic() + seconds
    while wanted not in (text := fetch(expose, seconds=seconds)):
        assert time.monotonic() < end, text
        time.sleep(0.05)
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_workers_share_an_address_and_add_up(kind, expose, tmp_path):
    if kind == "eventlet":
        pytest.importorskip("eventlet")
    script = textwrap.dedent(WORKERS).format(
        patch=KINDS[kind][0],
        after_fork=KINDS[kind][1],
        root=str(Path(__file__).parents[2]),
        expose=expose,
        directory=str(tmp_path),
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            pids = [int(process.stdout.readline()) for _ in range(3)]
            text = await_text(expose, 'route="/x",status="200"} 30.0')
            assert "labapi_http_requests_in_flight 3.0" in text
            # Whoever served is gone, another takes over, and its requests are in flight no more.
            for count, pid in enumerate(pids[:2], 1):
                os.kill(pid, 9)
                await_text(expose, f"labapi_http_requests_in_flight {3 - count}.0")
            assert 'route="/x",status="200"} 30.0' in fetch(expose)
        finally:
            os.killpg(process.pid, 9)
