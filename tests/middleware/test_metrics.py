"""metrics: numbers by route, over all workers, shown by an application of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from labapi_middleware.filter import OptionError
from labapi_middleware.ip_whitelist import IpWhitelist
from labapi_middleware.metrics import Metrics, app_factory, filter_factory, meters
from tests.middleware.conftest import build, call, environ, plain, validated


@pytest.fixture(autouse=True)
def _numbers_of_its_own(monkeypatch):
    monkeypatch.setattr(meters, "METERS", meters.Meters())


def metered(app=None, **options):
    return build(Metrics, app or plain(), **options)


def shown() -> str:
    answer = call(app_factory({}), environ(path="", SCRIPT_NAME="/metrics"))
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return answer.body.decode()


def routed(route):
    def app(request, start_response):
        request["labapi.route"] = route
        return plain()(request, start_response)

    return app


def test_requests_are_counted_by_route():
    app = metered(routed("/v2.1/slaves/{id}"))
    for n in range(3):
        call(app, environ(path=f"/v2.1/slaves/{n}"))
    text = shown()
    assert (
        'labapi_http_requests_total{method="GET",route="/v2.1/slaves/{id}",status="200"} 3.0'
        in text
    )
    assert (
        'labapi_http_request_duration_seconds_count{method="GET",route="/v2.1/slaves/{id}"} 3.0'
        in text
    )
    assert "labapi_http_requests_in_flight 0.0" in text


def test_a_client_cannot_make_new_series():
    app = metered(plain(status="404 Not Found"))
    for n in range(20):
        call(app, environ(f"M{n}", f"/{n}", headers={"Labapi.Route": f"/{n}"}))
    text = shown()
    assert 'labapi_http_requests_total{method="other",route="unmatched",status="404"} 20.0' in text
    assert text.count("labapi_http_requests_total{") == 1


def test_what_dies_is_counted():
    def dies(request, start_response):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        call(metered(dies), environ())
    text = shown()
    assert 'status="500"} 1.0' in text
    assert "labapi_http_requests_in_flight 0.0" in text


def test_a_request_is_in_flight_until_its_body_is_over():
    result = metered()(environ(), lambda *a: None)
    assert "labapi_http_requests_in_flight 1.0" in shown()
    result.close()
    assert "labapi_http_requests_in_flight 0.0" in shown()


def test_all_pipelines_count_in_one_place():
    call(metered(), environ())
    call(metered(), environ())
    assert 'status="200"} 2.0' in shown()


def test_other_buckets_begin_a_new_histogram_and_keep_the_counts():
    old = metered()
    call(old, environ())
    call(metered(buckets="1, 10"), environ())
    call(old, environ())  # a request that ends on the pipeline that another has replaced
    text = shown()
    assert 'status="200"} 3.0' in text
    assert re.findall(r'duration_seconds_bucket\{le="([^"]+)"', text) == ["1.0", "10.0", "+Inf"]
    assert 'duration_seconds_count{method="GET",route="unmatched"} 2.0' in text


# The application


@pytest.mark.parametrize("path", ["/x", "//", "/metrics"])
def test_only_the_metrics_are_there(path):
    answer = call(app_factory({}), environ(path=path, SCRIPT_NAME="/metrics"))
    assert (answer.status, answer.fault[0]) == (404, "itemNotFound")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_they_can_be_read_only(method):
    answer = call(app_factory({}), environ(method, "/"))
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_they_name_their_route():
    request = environ(path="", SCRIPT_NAME="/metrics")
    call(metered(app_factory({})), request)
    assert request["labapi.route"] == "/metrics"


def test_they_can_be_guarded():
    guarded = build(IpWhitelist, app_factory({}), allow="192.0.2.0/24")
    assert call(guarded, environ(path="/", REMOTE_ADDR="198.51.100.1")).status == 403
    assert call(guarded, environ(path="/", REMOTE_ADDR="192.0.2.1")).status == 200


def test_it_has_no_options():
    with pytest.raises(TypeError):
        app_factory({}, expose="127.0.0.1:9109")  # type: ignore[call-arg]


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"buckets": "1, 0.5"},
        {"buckets": ""},
        {"buckets": "1, x"},
        {"multiprocess_dir": "/nowhere"},
    ],
)
def test_options_that_cannot_be_used_stop_the_start(options):
    with pytest.raises(OptionError):
        metered(**options)


def test_an_address_of_its_own_is_a_thing_of_the_past():
    with pytest.raises(OptionError, match="write '/metrics = metrics_page' into") as why:
        metered(expose="127.0.0.1:9109")
    assert why.value.option == "expose"


def test_a_folder_for_numbers_that_are_in_memory_already(tmp_path):
    call(metered(), environ())
    with pytest.raises(OptionError, match="keeps its numbers in its memory already; restart it"):
        metered(multiprocess_dir=str(tmp_path))


def test_it_advises_several_workers_to_share_a_folder():
    (advice,) = filter_factory.advice({"workers": "2"})
    assert (advice.option, advice.problem.split(",")[0]) == (
        "multiprocess_dir",
        "labapi-api has 2 workers",
    )
    assert list(filter_factory.advice({"workers": "1"})) == []


def test_it_conforms_to_wsgi():
    assert call(validated(metered(validated(plain()))), environ(QUERY_STRING="")).body == b"ok"
    for method in ("GET", "HEAD"):
        request = environ(method, "", SCRIPT_NAME="/metrics", QUERY_STRING="")
        assert call(validated(app_factory({})), request).status == 200


# Several workers

WORKERS = """
    import os, re, signal, sys
    {patch}
    from labapi_middleware.metrics import app_factory, filter_factory
    sys.path.insert(0, {root!r})
    from tests.middleware.conftest import call, environ, plain

    def app(request, start_response):
        request["labapi.route"] = "/x"
        return plain()(request, start_response)

    def shown():
        return call(page, environ(path="")).body.decode()

    # Loaded before the fork, as servers do.
    page = app_factory({{}})
    filtered = filter_factory({{}}, multiprocess_dir={directory!r})(app)
    workers = []
    for _ in range(3):
        ready, done = os.pipe()
        pid = os.fork()
        if pid == 0:
            {after_fork}
            for _ in range(10):
                call(filtered, environ())
            filtered(environ(), lambda *a: None)  # stays in flight
            os.write(done, b"x")
            signal.pause()  # until it is killed
        workers.append(pid)
        os.read(ready, 1)
    print(re.search("in_flight [0-9]+", shown())[0])
    os.kill(workers[0], 9)
    os.waitpid(workers[0], 0)
    print(re.search("in_flight [0-9]+", shown())[0])
    print("counted", 'route="/x",status="200"}} 30.0' in shown())
    for pid in workers[1:]:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
"""

# What a server does for its workers: with eventlet, each needs an event loop of its own.
KINDS = {
    "plain": ("", "pass"),
    "eventlet": ("import eventlet; eventlet.monkey_patch()", "eventlet.hubs.use_hub()"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_process_shows_the_sum_of_all_workers(kind, tmp_path):
    if kind == "eventlet":
        pytest.importorskip("eventlet")
    script = textwrap.dedent(WORKERS).format(
        patch=KINDS[kind][0],
        after_fork=KINDS[kind][1],
        root=str(Path(__file__).parents[2]),
        directory=str(tmp_path),
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    expected = "in_flight 3\nin_flight 2\ncounted True\n"
    assert (done.stdout, done.returncode) == (expected, 0), done.stderr
