"""basic: who knows the password is who, and everybody else learns nothing."""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import pytest

from labapi_middleware import password_check
from labapi_middleware.basic import Basic, filter_factory
from labapi_middleware.context import Context
from labapi_middleware.filter import OptionError
from labapi_middleware.htpasswd import PasswordFileError, parse
from labapi_middleware.password_check import Failures, Verifier
from tests.middleware.conftest import build, call, environ, plain, validated
from tests.middleware.spoofing import spoofed


def hashed(password: bytes, cost: int = 4, prefix: str = "2b") -> str:
    # The same salt always: several processes that run these tests must agree on their names.
    salt = f"$2b${cost:02}$" + "abcdefghijklmnopqrstuu"
    written = bcrypt.hashpw(password, salt.encode()).decode()
    return written.replace("2b", prefix, 1)


ALICE = f"alice:{hashed(b'wonder:land')}\n"


@pytest.fixture
def htpasswd(tmp_path):
    path = tmp_path / "htpasswd"
    path.write_text(f"# lab users\n\n{ALICE}bob:{hashed(b'b' * 72, prefix='2y')}\n")
    return path


def login(user: str | bytes, password: str | bytes = "", scheme: str = "Basic") -> dict[str, str]:
    if isinstance(user, str):
        user = user.encode()
    if isinstance(password, str):
        password = password.encode()
    encoded = base64.b64encode(user + b":" + password).decode()
    return {"Authorization": f"{scheme} {encoded}"}


def send(htpasswd, headers, app=None, **options):
    options.setdefault("htpasswd_file", str(htpasswd))
    return call(build(Basic, app or plain(), **options), environ(headers=headers))


def test_the_right_password_confirms_the_user(htpasswd, recorder):
    app = build(Basic, build(Context, recorder), htpasswd_file=str(htpasswd))
    request = environ(headers=login("alice", "wonder:land"), **spoofed())
    assert call(app, request).status == 200
    context = recorder.environ["labapi.context"]
    assert (context["auth"], context["user_id"], context["project_id"]) == (
        "basic",
        "alice",
        "default",
    )
    assert context["roles"] == ("member", "reader")
    assert "EVIL" not in recorder.environ.values()
    assert "HTTP_AUTHORIZATION" not in recorder.environ


def test_roles_and_project_of_a_user(htpasswd, recorder):
    app = build(
        Basic,
        build(Context, recorder),
        htpasswd_file=str(htpasswd),
        project="lab",
        user_alice="Admin, reader @ secret lab",
        user_bob="reader",
    )
    call(app, environ(headers=login("alice", "wonder:land")))
    alice = recorder.environ["labapi.context"]
    assert alice["roles"] == ("admin", "reader")
    assert alice["project_id"] == "secret lab"
    call(app, environ(headers=login("bob", "b" * 72)))
    bob = recorder.environ["labapi.context"]
    assert (bob["roles"], bob["project_id"]) == (("reader",), "lab")


def test_the_scheme_is_case_insensitive(htpasswd):
    assert send(htpasswd, login("alice", "wonder:land", "bAsIc")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": "Basic "},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic YWxpY2U="},  # no colon
        {"Authorization": "Basic YWxpY2U6d29uZGVyOmxhbm"},  # padding cut off
        {"Authorization": "Bearer YWxpY2U6d29uZGVyOmxhbmQ="},
        {"Authorization": "Basic YWxpY2U6d29uZGVyOmxhbmQ=, Basic YWxpY2U6d29uZGVyOmxhbmQ="},
        {"Authorization": "Basic " + "A" * 100_000},
        {"Authorization": "Basic \xff\xfe"},
        login("alice", "wrong"),
        login("alice", ""),
        login("", ""),
        login("alice", "wonder:land "),
        login("Alice", "wonder:land"),
        login("alice ", "wonder:land"),
        login("carol", "wonder:land"),
        login("alice", b"wonder:land\0x"),
        login(b"\xff\xfe", b"x"),
        login("alice", b"\xff"),
        login("# lab users", ""),
        login("bob", "b" * 73),
        login("bob", "b" * 71),
    ],
)
def test_everything_else_is_refused_alike(htpasswd, headers, recorder):
    answer = send(htpasswd, headers, recorder, realm="the lab")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="the lab", charset="UTF-8"'
    assert answer.body == send(htpasswd, {}, realm="the lab").body
    assert recorder.calls == 0


def test_an_exception_of_the_application_stays_one(htpasswd):
    def dies(request, start_response):
        raise ValueError("not a login")

    with pytest.raises(ValueError, match="not a login"):
        send(htpasswd, login("alice", "wonder:land"), dies)


def test_an_unknown_user_takes_as_long_as_a_known_one(tmp_path):
    path = tmp_path / "htpasswd"
    path.write_text(f"alice:{hashed(b'x', 9)}\n")
    app = build(Basic, plain(), htpasswd_file=str(path))

    def cost(user: str) -> float:
        begin = time.thread_time()
        call(app, environ(headers=login(user, "wrong")))
        return time.thread_time() - begin

    ratios = sorted(cost("nobody") / cost("alice") for _ in range(7))
    # Without a password to compare it would be a hundredth; a busy machine measures badly.
    assert 0.2 < ratios[3] < 5


def test_a_right_password_is_remembered(tmp_path):
    path = tmp_path / "htpasswd"
    path.write_text(f"alice:{hashed(b'x', 10)}\n")
    app = build(Basic, plain(), htpasswd_file=str(path))
    begin = time.thread_time()
    assert call(app, environ(headers=login("alice", "x"))).status == 200
    first = time.thread_time() - begin
    begin = time.thread_time()
    for _ in range(10):
        assert call(app, environ(headers=login("alice", "x"))).status == 200
    assert time.thread_time() - begin < first
    assert call(app, environ(headers=login("alice", "y"))).status == 401


def test_what_is_remembered_ends_and_is_bounded(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    verifier = Verifier(10, 2, 1, Failures())
    good = hashed(b"x")
    for user in ("a", "b", "c"):
        assert verifier.verify(user, good, b"x", "")
    assert len(verifier._good) == 2
    remembered = dict(verifier._good)
    now = 1011.0
    assert verifier.verify("c", good, b"x", "")
    assert dict(verifier._good) != remembered  # it was checked again
    nothing = Verifier(0, 2, 1, Failures())
    assert nothing.verify("a", good, b"x", "")
    assert not nothing._good


def test_a_changed_file_counts_at_once(htpasswd, caplog):
    app = build(Basic, plain(), htpasswd_file=str(htpasswd))

    def status(password: str = "wonder:land") -> int:
        return call(app, environ(headers=login("alice", password))).status

    assert status() == 200
    htpasswd.write_text(f"alice:{hashed(b'new')}\n")
    assert status() == 401
    assert status("new") == 200
    htpasswd.write_text("")
    assert status("new") == 401
    replacement = htpasswd.with_name("new")
    replacement.write_text(ALICE)
    replacement.rename(htpasswd)
    assert status() == 200


def test_a_file_that_breaks_keeps_its_users_and_is_reported_once(htpasswd, caplog):
    app = build(Basic, plain(), htpasswd_file=str(htpasswd))
    caplog.set_level(logging.ERROR)
    for change in (lambda: htpasswd.write_text("alice:plain\n"), lambda: os.unlink(htpasswd)):
        caplog.clear()
        change()
        for _ in range(3):
            assert call(app, environ(headers=login("alice", "wonder:land"))).status == 200
        assert len(caplog.records) == 1
    htpasswd.write_text(f"alice:{hashed(b'new')}\n")
    assert call(app, environ(headers=login("alice", "wonder:land"))).status == 401


def test_the_log_names_no_password_and_no_unknown_user(htpasswd, caplog):
    caplog.set_level(logging.INFO)
    send(htpasswd, login("alice", "s3cret"))
    send(htpasswd, login("s3cret", ""))
    send(htpasswd, login("x\r\nforged", "s3cret"))
    assert "of alice" in caplog.text
    assert "s3cret" not in caplog.text
    assert "forged" not in caplog.text


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("alice:{SHA}abc", "line 1: expected a bcrypt hash"),
        ("alice:$apr1$x$y", "bcrypt"),
        ("alice:", "bcrypt"),
        ("alice", "bcrypt"),
        (f"alice:{hashed(b'x')}x", "bcrypt"),
        (f"alice:{hashed(b'x').replace('$04$', '$31$')}", "cost 4 to 15"),
        (f"alice:{hashed(b'x').replace('$04$', '$00$')}", "cost"),
        (f":{hashed(b'x')}", "user name"),
        (f"a b:{hashed(b'x')}", "user name"),
        (f"a,b:{hashed(b'x')}", "user name"),
        (f"\u00e4:{hashed(b'x')}", "user name"),
        (f"None:{hashed(b'x')}", "user name"),
        (f"a:{hashed(b'x')}\na:{hashed(b'y')}", "line 2: a user that"),
    ],
)
def test_a_malformed_file_stops_the_start(tmp_path, line, problem):
    with pytest.raises(PasswordFileError, match=problem.replace("(", ".")):
        parse(line)
    path = tmp_path / "htpasswd"
    path.write_text(line)
    with pytest.raises(OptionError, match="option 'htpasswd_file'"):
        build(Basic, plain(), htpasswd_file=str(path))


def test_a_missing_file_stops_the_start(tmp_path):
    for path in ("", str(tmp_path / "none"), str(tmp_path)):
        with pytest.raises(OptionError, match="htpasswd_file"):
            build(Basic, plain(), htpasswd_file=path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(OptionError, match="not UTF-8"):
        build(Basic, plain(), htpasswd_file=str(binary))


@pytest.mark.parametrize(
    "options",
    [
        {"user_alice": "admin @"},
        {"user_alice": "member @ nightly, reader"},
        {"user_alice": "member @ nightly @ daily"},
        {"realm": 'a"b'},
        {"realm": "a\r\nb"},
        {"cache_seconds": "-1"},
        {"user_": "admin"},
        {"usr_alice": "admin"},
        {"failures_per_address": "0 per minute"},
        {"failures_per_address": "ten per minute"},
        {"failures_per_user": "10 per fortnight"},
        {"checks_at_once": "0"},
    ],
)
def test_options_that_cannot_be_used_stop_the_start(htpasswd, options):
    with pytest.raises(OptionError):
        build(Basic, plain(), htpasswd_file=str(htpasswd), **options)


def test_a_user_line_without_a_user_is_reported(htpasswd, caplog):
    build(Basic, plain(), htpasswd_file=str(htpasswd), user_carol="admin")
    assert "user_carol" in caplog.text


def advice(**options):
    return [(a.option, a.problem) for a in filter_factory.advice({}, **options)]


def test_it_advises_against_a_file_that_others_read_and_users_that_it_does_not_have(
    htpasswd, monkeypatch
):
    htpasswd.chmod(0o640)
    assert advice(htpasswd_file=str(htpasswd), user_alice="admin") == []
    htpasswd.chmod(0o644)
    monkeypatch.chdir(htpasswd.parent)
    found = dict(advice(htpasswd_file=htpasswd.name, user_alcie="admin"))
    assert found["user_alcie"] == f"{htpasswd.name} has no user 'alcie'; did you mean 'alice'?"
    said = [text for option, text in advice(htpasswd_file=htpasswd.name)]
    assert "write the whole path" in said[0]
    assert "everybody on this machine can read" in said[1]


def test_it_conforms_to_wsgi(htpasswd):
    app = validated(build(Basic, validated(plain()), htpasswd_file=str(htpasswd)))
    assert call(app, environ(headers=login("alice", "wonder:land"))).body == b"ok"
    assert call(app, environ()).status == 401


# Guessing


class Checks:
    """Counts the checks that bcrypt makes; each waits until it may begin."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = self.running = self.most = 0
        self.began = threading.Event()
        self.may_begin = threading.Event()
        self.may_begin.set()
        self._lock = threading.Lock()
        self._check = bcrypt.checkpw
        monkeypatch.setattr(bcrypt, "checkpw", self)

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        with self._lock:
            self.count += 1
            self.running += 1
            self.most = max(self.most, self.running)
        self.began.set()
        assert self.may_begin.wait(60)
        right = self._check(password, hashed)
        with self._lock:
            self.running -= 1
        return right


@pytest.fixture
def checks(monkeypatch):
    return Checks(monkeypatch)


def status(app, user, password, address="192.0.2.1"):
    return call(app, environ(headers=login(user, password), REMOTE_ADDR=address)).status


def at_once(count, work):
    """Return what so many threads return that begin together."""
    begin = threading.Barrier(count)

    def run(number):
        begin.wait(60)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_an_address_that_guesses_is_refused_before_bcrypt_works(htpasswd, checks, caplog):
    app = build(Basic, plain(), htpasswd_file=str(htpasswd))
    assert status(app, "bob", "b" * 72) == 200
    for number in range(10):
        assert status(app, f"user-{number}", "guess") == 401
    assert checks.count == 11
    with caplog.at_level(logging.INFO):
        answer = call(app, environ(headers=login("alice", "wonder:land"), REMOTE_ADDR="192.0.2.1"))
    assert answer.status == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert answer.fault[0] == "overLimit"
    assert "more wrong passwords of this address than 10 per minute" in caplog.text
    assert checks.count == 11
    assert status(app, "bob", "b" * 72) == 200  # remembered
    assert status(app, "alice", "wonder:land", "192.0.2.2") == 200


def test_a_user_is_guessed_from_many_addresses(htpasswd, checks):
    app = build(Basic, plain(), htpasswd_file=str(htpasswd), failures_per_user="3 per hour")
    guesses = [status(app, "alice", "guess", f"192.0.2.{number}") for number in range(5)]
    assert guesses == [401, 401, 401, 429, 429]
    assert status(app, "bob", "b" * 72) == 200
    # A name that the file does not have is counted alike: the answer does not tell who exists.
    guesses = [status(app, "nobody", "guess", f"192.0.2.{number}") for number in range(5)]
    assert guesses == [401, 401, 401, 429, 429]


def test_an_ipv6_client_is_its_network(htpasswd):
    app = build(Basic, plain(), htpasswd_file=str(htpasswd), failures_per_address="2 per hour")
    guesses = [status(app, f"u{n}", "guess", f"2001:db8::{n}") for n in range(1, 4)]
    assert guesses == [401, 401, 429]
    assert status(app, "u", "guess", "2001:db8:1::1") == 401


def test_right_passwords_are_not_counted(htpasswd):
    limits = {"failures_per_address": "1 per hour", "failures_per_user": "1 per hour"}
    app = build(Basic, plain(), htpasswd_file=str(htpasswd), cache_seconds="0", **limits)
    assert {status(app, "alice", "wonder:land") for _ in range(5)} == {200}
    assert status(app, "alice", "guess") == 401
    assert status(app, "alice", "wonder:land") == 429


def test_without_limits_anybody_may_guess(htpasswd):
    limits = {"failures_per_address": "", "failures_per_user": ""}
    app = build(Basic, plain(), htpasswd_file=str(htpasswd), **limits)
    assert {status(app, "alice", "guess") for _ in range(30)} == {401}


def test_guesses_at_the_same_moment_are_counted(htpasswd, checks):
    options = {"failures_per_address": "5 per hour", "checks_at_once": "3"}
    app = build(Basic, plain(), htpasswd_file=str(htpasswd), **options)
    answers = at_once(20, lambda number: status(app, "alice", f"guess-{number}"))
    assert sorted(answers) == [401] * 5 + [429] * 15
    assert checks.count == 5
    assert checks.most <= 3


def test_a_login_that_many_send_at_once_is_checked_once(htpasswd, checks):
    app = build(Basic, plain(), htpasswd_file=str(htpasswd), failures_per_address="1 per hour")
    assert at_once(20, lambda _: status(app, "alice", "wonder:land")) == [200] * 20
    assert checks.count == 1


def test_a_login_for_which_there_is_no_time(htpasswd, checks, monkeypatch):
    monkeypatch.setattr(password_check, "MOST_WAITING", 1)
    app = build(Basic, plain(), htpasswd_file=str(htpasswd), failures_per_address="1 per hour")
    checks.may_begin.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(status, app, "alice", "wonder:land")
        assert checks.began.wait(60)
        answer = call(app, environ(headers=login("bob", "b" * 72), REMOTE_ADDR="192.0.2.9"))
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "1"
        checks.may_begin.set()
        assert first.result(60) == 200
    assert status(app, "bob", "b" * 72, "192.0.2.9") == 200


def test_a_check_that_waits_for_its_turn_in_vain(htpasswd, checks, monkeypatch):
    monkeypatch.setattr(password_check, "LONGEST_WAIT", 0.05)
    options = {"failures_per_user": "1 per hour", "checks_at_once": "1"}
    app = build(Basic, plain(), htpasswd_file=str(htpasswd), **options)
    checks.may_begin.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(status, app, "alice", "wonder:land")
        assert checks.began.wait(60)
        assert status(app, "bob", "b" * 72) == 503
        assert status(app, "alice", "wonder:land") == 503  # waits for the first one's check
        checks.may_begin.set()
        assert first.result(60) == 200
    # Who was not checked is not counted.
    assert status(app, "bob", "b" * 72) == 200


GREEN = """
    import eventlet
    eventlet.monkey_patch()
    import sys
    import bcrypt
    sys.path.insert(0, {root!r})
    from labapi_middleware.basic import Basic
    from tests.middleware.conftest import build, environ, call, plain
    from tests.middleware.test_basic import status

    begun = eventlet.patcher.original("threading").Event()
    done = eventlet.patcher.original("threading").Event()
    check = bcrypt.checkpw
    def slow(password, hashed):
        if password == b"guess":
            begun.set()
            assert done.wait(60), "nobody was served meanwhile"
        return check(password, hashed)
    bcrypt.checkpw = slow

    app = build(Basic, plain(), htpasswd_file={htpasswd!r})
    assert status(app, "alice", "wonder:land") == 200
    guess = eventlet.spawn(status, app, "alice", "guess")
    while not begun.is_set():
        eventlet.sleep(0.01)
    assert status(app, "alice", "wonder:land") == 200
    done.set()
    assert guess.wait() == 401
    print("served meanwhile")
"""


def test_green_threads_go_on_while_a_password_is_checked(htpasswd):
    pytest.importorskip("eventlet")
    root = str(Path(__file__).parents[2])
    script = textwrap.dedent(GREEN).format(root=root, htpasswd=str(htpasswd))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.stdout, done.returncode) == ("served meanwhile\n", 0), done.stderr
