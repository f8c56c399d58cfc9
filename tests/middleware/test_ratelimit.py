"""ratelimit: one suite over every storage and strategy, and storages that go away."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import re
import signal
import socket
import threading
import time
import uuid

import pytest

from labapi_middleware.filter import OptionError
from labapi_middleware.noauth import NoAuth
from labapi_middleware.proxy import Proxy
from labapi_middleware.ratelimit import RateLimit, filter_factory
from labapi_middleware.ratelimit.memory import MemoryCounter
from labapi_middleware.ratelimit.rules import PathPattern, normalised, rule
from tests.middleware import servers
from tests.middleware.conftest import build, call, environ, plain, validated


@pytest.fixture(scope="module")
def own_redis():
    with servers.redis() as (_, port):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="module")
def own_memcached():
    with servers.memcached() as (_, port):
        yield f"memcached://127.0.0.1:{port}"


BACKENDS = [
    "memory moving-window",
    "memory fixed-window",
    "redis moving-window",
    "redis fixed-window",
    "memcached fixed-window",
]


@pytest.fixture(params=BACKENDS)
def backend(request):
    storage, strategy = request.param.split()
    uri = "memory://" if storage == "memory" else request.getfixturevalue(f"own_{storage}")
    return {
        "storage": uri,
        "strategy": strategy,
        "key_prefix": f"test-{uuid.uuid4()}",
        "timeout": "60",  # these tests are about counting, on a machine that may be busy
        "on_storage_failure": "closed",
    }


_built = []


@pytest.fixture(autouse=True)
def _disconnected():
    yield
    while _built:
        counter = _built.pop().counter
        if not isinstance(counter, MemoryCounter):
            counter._limiter.storage.storage.close()


def limited(app=None, **options):
    _built.append(build(RateLimit, app or plain(), **options))
    return _built[-1]


def statuses(app, count, **request):
    return [call(app, environ(**request)).status for _ in range(count)]


# Over every storage


def test_not_one_request_more_than_allowed(backend):
    app = limited(rule_a="GET /v2.1/slaves: 3 per minute per address", **backend)
    assert statuses(app, 5) == [200, 200, 200, 429, 429]
    assert statuses(app, 1, REMOTE_ADDR="192.0.2.1") == [200]
    assert statuses(app, 1, method="POST") == [200]


def test_a_refusal_says_what_to_do(backend):
    app = limited(rule_posts="POST /v2.1/testcases: 1 per minute per address", **backend)
    request = {"method": "POST", "path": "/v2.1/testcases"}
    first = call(app, environ(**request))
    assert first.headers["RateLimit-Policy"] == '"posts";q=1;w=60'
    assert re.fullmatch(r'"posts";r=0;t=\d+', first.headers["RateLimit"])
    answer = call(app, environ(**request, **{"labapi.request_id": "req-1"}))
    assert answer.status == 429
    name, fault = answer.fault
    assert name == "overLimit"
    assert fault["request_id"] == "req-1"
    assert "'posts' allows 1 per minute per address" in fault["message"]
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["RateLimit-Policy"] == '"posts";q=1;w=60'
    assert re.fullmatch(r'"posts";r=0;t=([1-9]|[1-5]\d|60)', answer.headers["RateLimit"])


def test_the_fields_count_down(backend):
    app = limited(rule_a="* *: 3 per minute per address", **backend)
    left = [call(app, environ()).headers["RateLimit"] for _ in range(3)]
    assert [re.match(r'"a";r=(\d)', field)[1] for field in left] == ["2", "1", "0"]


def test_the_strictest_of_several_rules_answers(backend):
    app = limited(
        rule_burst="* *: 2 per minute per address",
        rule_all="* /v2.1/*: 100 per hour per address",
        **backend,
    )
    answers = [call(app, environ()) for _ in range(4)]
    assert [a.status for a in answers] == [200, 200, 429, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"burst";q=2;w=60, "all";q=100;w=3600'
    assert "'burst'" in answers[2].fault[1]["message"]
    # what burst refused was not taken from all
    assert '"all";r=98;' in answers[3].headers["RateLimit"]


def test_a_window_ends(backend):
    app = limited(rule_a="* *: 2 per second per address", **backend)
    end = time.monotonic() + 60
    while 429 not in statuses(app, 3):  # a slow machine does not get that far in each second
        assert time.monotonic() < end
    answer = call(app, environ())
    time.sleep(int(answer.headers.get("Retry-After", 1)) + 0.1)
    assert call(app, environ()).status == 200


def test_what_is_left_can_be_asked_for(backend):
    shown = []

    def app(request, start_response):
        shown.append(request["labapi.ratelimit"]())
        return plain()(request, start_response)

    filtered = limited(
        app,
        rule_a="GET,POST /v2.1/*: 5 per minute per address",
        rule_b="* /other: 7 per hour per user",
        **backend,
    )
    call(filtered, environ())
    a, b = shown[0]
    assert 1 <= a.pop("reset") <= 60
    assert a == {
        "name": "a",
        "methods": ["GET", "HEAD", "POST"],
        "path": "/v2.1/*",
        "per": "address",
        "limit": 5,
        "window": 60,
        "remaining": 4,
    }
    assert (b["methods"], b["remaining"], b["window"]) == (["*"], 7, 3600)
    call(filtered, environ())
    assert shown[1][0]["remaining"] == 3


def test_threads_share_the_limit(backend):
    app = limited(rule_a="* *: 25 per hour per address", **backend)
    got = []

    def client():
        got.extend(statuses(app, 20))
        if backend["storage"].startswith("memcached"):  # its clients belong to one thread each
            app.counter._limiter.storage.storage.close()

    threads = [threading.Thread(target=client) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [200] * 25 + [429] * 75


def _client_process(options, count, results):
    app = limited(
        rule_a="* *: 40 per hour per address",
        rule_b="* /v2.1/*: 60 per hour per address",
        **options,
    )
    got = []

    def work():
        got.extend(statuses(app, count))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(got)


@pytest.mark.parametrize("strategy", ["moving-window", "fixed-window"])
def test_processes_share_the_limit_on_redis(own_redis, strategy):
    options = {
        "storage": own_redis,
        "strategy": strategy,
        "key_prefix": f"test-{uuid.uuid4()}",
        "timeout": "60",
        "on_storage_failure": "closed",
    }
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    clients = [
        context.Process(target=_client_process, args=(options, 25, results)) for _ in range(3)
    ]
    for process in clients:
        process.start()
    got = list(itertools.chain.from_iterable(results.get(timeout=120) for _ in clients))
    for process in clients:
        process.join()
    assert len(got) == 150
    assert got.count(200) == 40
    assert got.count(429) == 110


# Who is counted


def test_users_and_projects_are_counted_where_they_are_known():
    def pipeline(user, project, counter):
        return build(NoAuth, counter, user_id=user, project_id=project)

    per_user = limited(rule_a="* *: 1 per minute per user")
    per_project = limited(rule_a="* *: 1 per minute per project")
    for counter, same, other in (
        (per_user, ("u1", "p2"), ("u2", "p1")),
        (per_project, ("u2", "p1"), ("u1", "p2")),
    ):
        assert statuses(pipeline("u1", "p1", counter), 1) == [200]
        assert statuses(pipeline(*same, counter), 1) == [429]
        assert statuses(pipeline(*other, counter), 1) == [200]


def test_a_claimed_user_is_an_address():
    app = limited(rule_a="* *: 1 per minute per user")
    got = [
        call(app, environ(headers={"X-User-Id": str(n), "X-Identity-Status": "Confirmed"})).status
        for n in range(3)
    ]
    assert got == [200, 429, 429]


def test_a_user_named_like_an_address_is_not_that_address():
    counter = limited(rule_a="* *: 1 per minute per user")
    assert statuses(counter, 2) == [200, 429]
    assert statuses(build(NoAuth, counter, user_id="127.0.0.1"), 1) == [200]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:0:ffff::1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "garbage", True),
    ],
)
def test_who_is_one_client(one, other, same):
    app = limited(rule_a="* *: 1 per minute per address")
    assert statuses(app, 1, REMOTE_ADDR=one) == [200]
    assert statuses(app, 1, REMOTE_ADDR=other) == [429 if same else 200]


def test_exempt_networks_are_not_counted():
    app = limited(rule_a="* *: 1 per minute per address", exempt="127.0.0.0/8, 2001:db8::/32")
    assert statuses(app, 3) == [200] * 3
    assert statuses(app, 2, REMOTE_ADDR="2001:db8::1") == [200] * 2
    assert statuses(app, 2, REMOTE_ADDR="192.0.2.1") == [200, 429]
    assert "RateLimit" not in call(app, environ()).headers


def test_a_proxy_that_is_not_trusted_is_not_exempt():
    app = build(Proxy, limited(rule_a="* *: 1 per minute per address", exempt="127.0.0.1"))
    assert statuses(app, 2, headers={"X-Forwarded-For": "192.0.2.1"}) == [200, 429]


def test_two_filters_in_one_pipeline_show_all_rules():
    shown = []

    def app(request, start_response):
        shown.extend(rule["name"] for rule in request["labapi.ratelimit"]())
        return plain()(request, start_response)

    inner = build(NoAuth, limited(app, rule_b="* *: 5 per minute per user"))
    call(limited(inner, rule_a="* *: 5 per minute per address"), environ())
    assert shown == ["a", "b"]


# Paths and sentences


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/v2.1/testcases", "/v2.1/testcases", True),
        ("/v2.1/testcases", "/v2.1/testcases/", True),
        ("/v2.1/testcases", "//v2.1///testcases//", True),
        ("/v2.1/testcases/", "/v2.1/testcases", True),
        ("/v2.1/testcases", "/v2.1/testcases/1", False),
        ("/v2.1/testcases", "/v2x1/testcases", False),
        ("/v2.1/testcases", "/v2.1/testcases\n", False),
        ("/v2.1/*/output", "/v2.1/testcases/1/output", True),
        ("/v2.1/*", "/v2.1/", False),
        ("*", "/", True),
        ("*", "", True),
        ("/", "//", True),
        ("/a[b]", "/ab", True),
        ("/größe/*", "/größe/1".encode().decode("latin-1"), True),
    ],
)
def test_paths(pattern, path, matches):
    assert PathPattern(pattern).matches(normalised(path)) is matches


def test_a_mount_point_belongs_to_the_path():
    app = limited(rule_a="GET /v2.1/slaves: 1 per minute per address")
    assert statuses(app, 2, SCRIPT_NAME="/v2.1", path="/slaves") == [200, 429]


def test_head_is_a_get_without_a_body():
    app = limited(rule_a="get /v2.1/slaves: 1 per minute per address")
    assert statuses(app, 1) == [200]
    answer = call(app, environ("HEAD"))
    assert (answer.status, answer.body) == (429, b"")


@pytest.mark.parametrize(
    ("sentence", "item"),
    [
        ("POST /a: 10 per minute per address", "10 per 1 minute"),
        ("*  *  :  1 per 5 minutes per user", "1 per 5 minute"),
        ("GET, PUT /a:b/*: 2 per 1 hour per project", "2 per 1 hour"),
        ("DELETE /a: 3 per days per user", "3 per 1 day"),
    ],
)
def test_sentences(sentence, item):
    assert str(rule(sentence).item()) == item


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "10 per minute",
        "POST /a 10 per minute per address",
        "POST /a: 10 per minute",
        "POST /a: 0 per minute per address",
        "POST /a: 10 per 0 minutes per address",
        "POST /a: -1 per minute per address",
        "POST /a: 9999999 per minute per address",
        "POST /a: 10 per fortnight per address",
        "POST /a: 10 per minute per planet",
        "POST a: 10 per minute per address",
        "/a: 10 per minute per address",
        "POST /a /b: 10 per minute per address",
        "P0ST /a: 10 per minute per address",
    ],
)
def test_what_is_no_sentence_stops_the_start(sentence):
    with pytest.raises(OptionError, match="rule_a"):
        limited(rule_a=sentence)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"rule_a b": "* *: 1 per day per user"}, "letters, digits"),
        ({'rule_"': "* *: 1 per day per user"}, "letters, digits"),
        ({"rul_a": "* *: 1 per day per user"}, "did you mean 'rule_"),
        ({"storage": "postgres://h"}, "expected memory://"),
        ({"storage": "redis://127.0.0.1:port"}, "storage"),
        ({"storage": "redis://127.0.0.1:6379/db0"}, "number of a database"),
        ({"storage": "redis://"}, "expected memory://"),
        ({"storage": "memory"}, "expected memory://"),
        ({"storage": "memory://x"}, "expected memory://"),
        ({"storage": "memory://\nrule_all = * *: 1 per day per user"}, "expected memory://"),
        ({"storage": "memcached://127.0.0.1:1"}, "only fixed-window"),
        ({"strategy": "leaky-bucket"}, "moving-window, fixed-window"),
        ({"timeout": "0"}, "seconds"),
        ({"key_prefix": "a b"}, "without blanks"),
        ({"exempt": "everybody"}, "not an address"),
    ],
)
def test_options_that_cannot_be_used_stop_the_start(options, problem):
    with pytest.raises(OptionError, match=problem):
        limited(**options)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, [("", "there is no rule_<name>, so nothing is limited")]),
        ({"rule_a": "GET, POST /a: 1 per day per user"}, []),
        (
            {"rule_a": "GTE, WALK /a: 1 per day per user"},
            [
                ("rule_a", "GTE is not a method of HTTP; did you mean GET?"),
                ("rule_a", "WALK is not a method of HTTP"),
            ],
        ),
        (
            {
                "rule_a": "GET /a?b=*: 1 per day per user",
                "rule_b": "GET /a%2Fb: 1 per day per user",
            },
            [
                ("rule_a", "paths are compared without the query string; end this one before '?'"),
                ("rule_b", "paths are compared decoded; write the character itself and not %XX"),
            ],
        ),
    ],
)
def test_it_advises_against_rules_that_match_nothing(rules, expected):
    assert [(a.option, a.problem) for a in filter_factory.advice({}, **rules)] == expected


def test_a_password_in_the_storages_uri_is_not_shown():
    with pytest.raises(OptionError) as raised:
        limited(storage="redis://:s3cret@127.0.0.1:port")
    assert "s3cret" not in str(raised.value)


# Storages that go away


@contextlib.contextmanager
def blackhole():
    """A port that takes connections into its backlog until that is full, and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            yield listener.getsockname()[1]


def away(kind, stack):
    if kind == "refused":
        return servers.free_port()
    if kind == "blackholed":
        return stack.enter_context(blackhole())
    process, port = stack.enter_context(servers.redis())
    if kind == "stopped":
        process.send(signal.SIGSTOP)
    return port


@pytest.mark.parametrize("kind", ["refused", "blackholed", "stopped"])
@pytest.mark.parametrize(("failure", "status"), [("open", 200), ("closed", 503)])
def test_a_storage_that_is_away_is_no_500_and_no_long_wait(kind, failure, status, caplog):
    with contextlib.ExitStack() as stack:
        storage = f"redis://127.0.0.1:{away(kind, stack)}"
        took = []
        while not took or (min(took) >= 0.4 + 0.1 and len(took) < 20):  # the machine may be busy
            caplog.clear()
            app = limited(
                rule_a="* *: 1 per minute per address",
                rule_b="* *: 1 per minute per user",
                storage=storage,
                on_storage_failure=failure,
                timeout="0.4",
            )
            waits = []
            for _ in range(3):
                begin = time.monotonic()
                answer = call(app, environ())
                waits.append(time.monotonic() - begin)
                assert answer.status == status
            took.append(max(waits))
        assert min(took) < 0.4 + 0.1
        if status == 503:
            assert answer.fault[0] == "serviceUnavailable"
            assert answer.headers["Retry-After"] == "1"
        assert len(caplog.records) == 1
        assert "does not answer" in caplog.text


def test_a_storage_that_stops_while_it_is_used(caplog, monkeypatch):
    with servers.redis() as (process, port):
        shown = []

        def app(request, start_response):
            shown.append(request["labapi.ratelimit"]())
            return plain()(request, start_response)

        filtered = limited(
            app,
            rule_a="* *: 2 per hour per address",
            storage=f"redis://127.0.0.1:{port}",
            timeout="2",
        )
        now = time.monotonic()
        monkeypatch.setattr("labapi_middleware.ratelimit.storage.time.monotonic", lambda: now)
        tried = asked(filtered, monkeypatch)
        assert statuses(filtered, 2) == [200, 200]
        process.send(signal.SIGSTOP)
        tried.clear()
        assert statuses(filtered, 20) == [200] * 20
        assert len(tried) == 1  # the others do not try again so soon
        assert shown[-1][0]["remaining"] is None
        process.send(signal.SIGCONT)
        now += 1.1
        assert statuses(filtered, 1) == [429]
        assert len(caplog.records) == 1


def asked(filtered, monkeypatch):
    """Return a list that grows whenever the filter asks its storage."""
    limiter = filtered.counter._limiter
    ask, times = limiter.get_window_stats, []

    def counted(*args):
        times.append(args)
        return ask(*args)

    monkeypatch.setattr(limiter, "get_window_stats", counted)
    return times


def test_a_storage_that_was_restarted_is_used_again():
    with servers.redis() as (process, port):
        app = limited(
            rule_a="* *: 1 per minute per address",
            storage=f"redis://127.0.0.1:{port}",
            timeout="60",
        )
        assert statuses(app, 2) == [200, 429]
        process.kill()
        assert statuses(app, 1) == [200]


def test_memcached_that_is_away_is_no_500():
    app = limited(
        rule_a="* *: 1 per minute per address",
        storage=f"memcached://127.0.0.1:{servers.free_port()}",
        strategy="fixed-window",
        timeout="0.4",
    )
    assert statuses(app, 3) == [200] * 3


def test_an_outage_is_logged_once_a_minute(caplog, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    app = limited(
        rule_a="* *: 1 per minute per address", storage=f"redis://127.0.0.1:{servers.free_port()}"
    )
    for at in (0, 0.5, 2, 30, 59, 61, 62):
        now += at
        call(app, environ())
        now -= at
    assert len(caplog.records) == 2


# The storage in memory


def keys(number=0, sentence="* *: 2 per minute per address"):
    return [(rule(sentence).item(), f"client {number}")]


@pytest.fixture
def clock(monkeypatch):
    """Time that stands still until it is set."""
    at = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: at[0])
    return lambda second: at.__setitem__(0, 1000.0 + second)


@pytest.mark.parametrize("strategy", ["moving-window", "fixed-window"])
def test_memory_is_bounded(strategy):
    counter = MemoryCounter(strategy, most=10)
    for n in range(100):
        assert counter.hit(keys(n)) == [(True, 1, 60.0)]
    # the one unused for longest has gone
    assert [counter.peek(keys(n))[0].remaining for n in (89, 99)] == [2, 1]
    assert len(counter._counts) == 10


def test_the_moving_window_moves(clock):
    counter = MemoryCounter("moving-window")
    for at, left, reset in ((0, 1, 60.0), (30, 0, 30.0)):
        clock(at)
        assert counter.hit(keys()) == [(True, left, reset)]
    assert counter.hit(keys()) == [(False, 0, 30.0)]
    clock(60)
    assert counter.peek(keys()) == [(True, 1, 30.0)]
    assert counter.hit(keys()) == [(True, 0, 30.0)]
    assert counter.hit(keys()) == [(False, 0, 30.0)]


def test_the_fixed_window_is_fixed(clock):
    counter = MemoryCounter("fixed-window")
    for at, left, reset in ((0, 1, 60.0), (30, 0, 30.0)):
        clock(at)
        assert counter.hit(keys()) == [(True, left, reset)]
    assert counter.hit(keys()) == [(False, 0, 30.0)]
    clock(60)
    assert counter.peek(keys()) == [(True, 2, 60.0)]
    assert counter.hit(keys()) == [(True, 1, 60.0)]


def test_it_conforms_to_wsgi():
    app = validated(limited(validated(plain()), rule_a="* *: 1 per minute per address"))
    assert call(app, environ()).body == b"ok"
    assert call(app, environ()).status == 429


def test_no_thread_is_left_behind():
    before = set(threading.enumerate())
    app = limited(rule_a="* *: 50 per minute per address")
    statuses(app, 100)
    assert not set(threading.enumerate()) - before
