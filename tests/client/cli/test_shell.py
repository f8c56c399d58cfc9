"""What all commands have in common."""

from __future__ import annotations

import http.server
import json
import shlex
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

from tests.client.alone.scripted import Say, Scripted
from tests.client.alone.test_requests import CASE
from tests.client.cli.conftest import Type, typed
from tests.client.conftest import Served
from tests.lab import HOST
from tests.processes import free_port


def test_no_command() -> None:
    done = typed()
    assert (done.status, done.out) == (2, "")
    assert "'lab help' lists them" in done.err


def test_help_lists_the_commands() -> None:
    for words in (("help",), ("--help",), ("-h",)):
        done = typed(*words)
        assert done.status == 0
        assert "testcase run" in done.out
        assert "Run a method of a plugin on a host" in done.out


def test_help_shows_how_programs_are_named() -> None:
    lines = typed("help").out.splitlines()
    for name in ("run", "lease run"):
        (line,) = (line for line in lines if line.startswith(f"  {name} "))
        assert line.endswith("-- PROGRAM [ARGUMENT ...]")


def test_options_of_a_program_that_do_not_stand_behind_the_dashes() -> None:
    done = typed("run", "lab-1", "uname", "-s")
    assert done.status == 2
    assert done.err.endswith("unrecognized arguments: -s; a program's own stand behind --\n")
    done = typed("run", "--nonsense", "lab-1", "--", "uname", "-s")
    assert done.err.endswith("unrecognized arguments: --nonsense\n")


def test_help_of_a_command() -> None:
    for words in (("help", "slave", "set"), ("slave", "set", "--help")):
        done = typed(*words)
        assert done.status == 0
        assert "KEY=VALUE" in done.out
        assert "--url" in done.out


def test_the_id_of_a_case_does_not_speak_to_the_terminal() -> None:
    with Scripted(Say(202, {**CASE, "id": "\x1b]0;owned\x07"})) as server:
        done = typed("run", "--url", server.url, "--detach", "lab-1", "--", "true")
    assert (done.status, done.out) == (0, "?]0;owned?\n")


def test_help_of_what_is_no_command() -> None:
    done = typed("help", "slave", "lst")
    assert done.status == 2
    assert "there is no command 'slave lst'; did you mean 'slave list'?" in done.err


@pytest.mark.parametrize("words", [("help", "slave"), ("slave", "--help"), ("slave", "-h")])
def test_help_of_the_first_word(words: tuple[str, ...]) -> None:
    done = typed(*words)
    assert (done.status, "slave list" in done.out) == (0, True)


def test_help_of_help() -> None:
    done = typed("help", "--help")
    assert (done.status, done.out.startswith("usage: lab help")) == (0, True)


def test_version() -> None:
    assert typed("--version").out.startswith("lab 0.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("slave", "lst"), "there is no command 'slave lst'; did you mean 'slave list'?"),
        (("slave",), "there is no command 'slave'; did you mean 'slave bench' or"),
        (("fly", "--help"), "there is no command 'fly'; 'lab help' lists them"),
        (("fly",), "there is no command 'fly'; 'lab help' lists them"),
        (("--nothing", "slave", "list"), "there is no option '--nothing' before a command"),
    ],
)
def test_a_command_that_is_none(words: tuple[str, ...], said: str) -> None:
    done = typed(*words)
    assert (done.status, done.out) == (2, "")
    assert said in done.err


def test_an_option_that_is_none() -> None:
    done = typed("slave", "list", "--lang")
    assert done.status == 2
    assert "--lang" in done.err


def test_url_before_and_after_the_command(served: Served) -> None:
    url = f"http://127.0.0.1:{served.port}"
    for words in (("--url", url, "slave", "list"), ("slave", "list", "--url", f"{url}/v2.1/")):
        assert HOST in typed(*words).out


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://u:pw@127.0.0.1"])
def test_a_url_that_is_none(url: str) -> None:
    done = typed("slave", "list", "--url", url)
    assert done.status == 2
    assert done.err.startswith("lab: ")
    assert done.err.count("\n") == 1
    assert "pw" not in done.err.replace("password", "")


def test_a_lab_that_is_away() -> None:
    done = typed("slave", "list", "--url", f"http://127.0.0.1:{free_port()}")
    assert done.status == 2
    assert "Connection refused" in done.err
    assert done.err.count("\n") == 1


def test_debug_prints_lines_that_can_be_pasted(type_: Type) -> None:
    done = type_("--debug", "slave", "set", HOST, "note=it's")
    try:
        pasted = [line for line in done.err.splitlines() if line.startswith("curl")]
        assert pasted
        for line in pasted:
            ran = subprocess.run(
                ["bash", "-c", line], capture_output=True, text=True, check=True, timeout=60
            )
            assert "Fault" not in ran.stdout
        assert any("-X PUT" in line for line in pasted)
        assert shlex.quote('{"metadata": {"note": "it\'s"}}') in done.err
        assert "# 200 (" in done.err
        assert "# X-Openstack-Request-Id: req-" in done.err
    finally:
        type_("slave", "unset", HOST, "note")


def test_debug_shows_no_secret(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABAPI_USERNAME", "alice")
    monkeypatch.setenv("LABAPI_PASSWORD", "wonderland")
    done = type_("--debug", "slave", "list")
    assert '-u "$LABAPI_USERNAME:$LABAPI_PASSWORD"' in done.err
    assert "wonderland" not in done.err
    assert "YWxpY2U6d29uZGVybGFuZA" not in done.err


PLAN = {
    "notify": [{"webhook": "https://u:s3cret@ci.example.org/h", "secret": "s3cret"}],
    "environment": {"Passphrase": "s3cret", "tokens": ["s3cret", {"a": "s3cret"}], "x": "kept"},
    "testplan": {},
}


@pytest.mark.parametrize("text", [json.dumps(PLAN), yaml.safe_dump(PLAN)])
def test_debug_shows_no_secret_of_a_plan(tmp_path: Path, text: str) -> None:
    file = tmp_path / "plan"
    file.write_text(text)
    with Scripted(Say(400, PLAN, {"Location": "http://u:s3cret@lab/"})) as server:
        done = typed("--debug", "plan", "check", str(file), "--url", server.url)
    assert "s3cret" not in done.err
    assert "kept" in done.err
    (line,) = (line for line in done.err.splitlines() if line.startswith("curl"))
    words = shlex.split(line)
    assert json.loads(words[words.index("-d") + 1])["testplan"] == {}


@pytest.mark.parametrize("text", ["a: &a [s3cret]\nb: *a", "{s3cret", "[" * 5000])
def test_debug_shows_the_size_of_what_it_cannot_mask(tmp_path: Path, text: str) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with Scripted(Say(400, b"")) as server:
        done = typed("--debug", "plan", "check", str(file), "--url", server.url)
    assert f"-d '{len(text)} bytes'" in done.err


def test_timing(type_: Type) -> None:
    done = type_("--timing", "slave", "list")
    assert " ms  GET http://127.0.0.1" in done.err
    assert " ms  1 requests" in done.err


def test_an_unexpected_error_is_one_line_too(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    from labapi_client.managers.slaves import Slaves

    def broken(self: Slaves, **_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(Slaves, "list", broken)
    done = type_("slave", "list")
    assert (done.status, done.err) == (2, "lab: unexpected KeyError: 'x' (--debug shows where)\n")


def test_a_width_that_is_none(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIFF_FIT_WIDTH", "yes")
    done = type_("slave", "list")
    text = "lab: CLIFF_MAX_TERM_WIDTH and CLIFF_FIT_WIDTH have to be numbers\n"
    assert (done.status, done.err) == (2, text)


class _Foul(http.server.BaseHTTPRequestHandler):
    """Answers with a fault whose message speaks to the terminal."""

    def do_GET(self) -> None:
        message = "\x1b]0;pwned\x07 \x9b31m\nsecond line\u202e"
        body = json.dumps({"itemNotFound": {"code": 404, "message": message}}).encode()
        self.send_response(404)
        self.send_header("X-Openstack-Request-Id", "req-\x1b[31m")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_control_characters_in_what_a_lab_says() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), _Foul) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = typed("--debug", "slave", "list", "--url", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert done.status == 2
    assert all(c.isprintable() or c == "\n" for c in done.err), done.err
    assert done.err.splitlines()[-1].startswith("lab: ?]0;pwned? ?31m second line?")
