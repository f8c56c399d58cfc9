"""basic: who knows the password is who, and everybody else learns nothing."""

from __future__ import annotations

import base64
import logging
import os
import time

import bcrypt
import pytest

from labapi_middleware.basic import Basic
from labapi_middleware.context import Context
from labapi_middleware.filter import OptionError
from labapi_middleware.htpasswd import PasswordFileError, Verifier, parse
from tests.middleware.conftest import build, call, environ, plain, validated
from tests.middleware.spoofing import spoofed


def hashed(password: bytes, cost: int = 4, prefix: str = "2b") -> str:
    written = bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode()
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
    verifier = Verifier(10, 2)
    good = hashed(b"x")
    for user in ("a", "b", "c"):
        assert verifier.verify(user, good, b"x")
    assert len(verifier._good) == 2
    remembered = dict(verifier._good)
    now = 1011.0
    assert verifier.verify("c", good, b"x")
    assert dict(verifier._good) != remembered  # it was checked again
    nothing = Verifier(0, 2)
    assert nothing.verify("a", good, b"x")
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
        {"realm": 'a"b'},
        {"realm": "a\r\nb"},
        {"cache_seconds": "-1"},
        {"user_": "admin"},
        {"usr_alice": "admin"},
    ],
)
def test_options_that_cannot_be_used_stop_the_start(htpasswd, options):
    with pytest.raises(OptionError):
        build(Basic, plain(), htpasswd_file=str(htpasswd), **options)


def test_a_user_line_without_a_user_is_reported(htpasswd, caplog):
    build(Basic, plain(), htpasswd_file=str(htpasswd), user_carol="admin")
    assert "user_carol" in caplog.text


def test_it_conforms_to_wsgi(htpasswd):
    app = validated(build(Basic, validated(plain()), htpasswd_file=str(htpasswd)))
    assert call(app, environ(headers=login("alice", "wonder:land"))).body == b"ok"
    assert call(app, environ()).status == 401
